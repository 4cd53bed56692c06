// The public face: everything a program that uses belay may import, and nothing else. Re-exports only.
//
// Rooms in the order of the line; what a verb does is at the end, as functions. docs/cli.md describes the verbs, and
// examples/ shows programs against this file.
//
// Does not: hold logic.

// base: recipes, errors, documents, artefacts
export { defineRecipe, loadRecipe, parseRecipe, recipePart, setInRecipe } from './base/recipe.ts';
export type { ModelRecipe, OptimizerRecipe, PretrainRecipe, Recipe, RecipeInput, SftRecipe } from './base/recipe.ts';
export { exitCodes, Paused, UserError } from './base/errors.ts';
export { type Document, type Edit, editText, type Section, withNote } from './base/document.ts';
export { type BadLine, JsonlWriter, readJsonl } from './base/jsonl.ts';
export { documentFiles, readDocuments } from './base/documents-folder.ts';
export { type Funnel, type LedgerRow, readLedger } from './base/ledger.ts';
export {
  checkFiles,
  enclosingArtefact,
  type FamilyNode,
  familyTree,
  findManifest,
  type Manifest,
  type NewManifest,
  readManifest,
  writeManifest,
} from './base/manifest.ts';
export { runStage, type StageOptions, type StageResult } from './base/stage.ts';
export { type Log, silentLog, terminalLog } from './base/progress.ts';
export { Random } from './base/rng.ts';
export { version } from './base/version.ts';

// data: documents in, clean documents out
export { buildSource } from './data/build-source.ts';
export { cleanDocuments } from './data/clean.ts';
export { type Embedder, openEmbedder } from './data/embedder/embedder.ts';
export { evaluateClassifier, HoldOut, type LabelScore, type Scores } from './data/fasttext/evaluate.ts';
export { type FastTextModel, modelOf, type Prediction, readFastTextModel } from './data/fasttext/model.ts';
export { ClassifierTrainer, type TrainSettings, trainSettings } from './data/fasttext/train.ts';
export { type Classifier, writeFastTextModel } from './data/fasttext/write.ts';
export { writeLedgerParquet } from './data/funnel-parquet.ts';
export { funnelPicture } from './data/funnel-picture.ts';
export { type HeadsFile, trainHeads, type TrainHeadsOptions } from './data/heads/train-folder.ts';
export { type DocumentTexts, lookUpDocument } from './data/look-up.ts';
export { buildProbes, type BuildProbesOptions, type ProbesFile } from './data/probes/build.ts';
export { type ProbeSettings, probeSettingsSchema } from './data/probes/settings.ts';
export { buildDebian, getDebianDocuments, type GetDebianDocumentsOptions } from './data/sources/debian.ts';

// tokenizer: text <-> ids
export { StreamDecoder, Tokenizer } from './tokenizer/bpe.ts';
export { encodeTexts, type EncodeTextsOptions } from './tokenizer/encode-texts.ts';
export { encodeChat, encodeConversation, type Message, renderChat } from './tokenizer/chat-format.ts';
export { conversationFrom, toolsFrom } from './tokenizer/chat-messages.ts';
export { parsePythonJson } from './tokenizer/python-json.ts';
export { gini, type TokenizerComparison, TokenizerMeter, type TokenizerMetrics, unitsOf } from './tokenizer/metrics.ts';
export { tokenizerJson, writeTokenizerFiles } from './tokenizer/tokenizer-files.ts';
export { trainBpe, type TrainedVocabulary, type TrainingText, type TrainBpeOptions } from './tokenizer/train.ts';
export { trainTokenizer, trainTokenizerOnFiles } from './tokenizer/train-stage.ts';

// corpus: token files and training rows
export { TokenBatches, type TokenBatchesOptions } from './corpus/batches.ts';
export { checkTokenFile, type CheckTokenFileOptions, type TokenFileReport } from './corpus/check-token-file.ts';
export { MegatronReader, MegatronWriter, type TokenType } from './corpus/megatron.ts';
export { mergeMegatron } from './corpus/merge.ts';
export { packDocuments, type PackedDocument, readPackedDocuments } from './corpus/pack.ts';

// tensor: the engine
export type { Backend, Compute } from './tensor/backend.ts';
export { defaultBackend, selectedBackend } from './tensor/backend-select.ts';
export { jsBackend } from './tensor/backend-js.ts';
export { nativeBackend, nativeStatus } from './tensor/backend-native.ts';
export * as ops from './tensor/ops.ts';
export { ParameterSet, type ParameterSpec } from './tensor/parameters.ts';
export { SafetensorsFile, writeSafetensors } from './tensor/safetensors.ts';
export { Engine, type Shape, Tensor } from './tensor/tensor.ts';

// optim: how weights move
export { Optimizer } from './optim/optimizer.ts';
export { learningRate, type Schedule } from './optim/schedule.ts';

// model: the Apertus transformer
export { Apertus, type CachedTokens, parameterSpecs, type TokenBatch } from './model/apertus.ts';
export {
  cacheBytesPerToken,
  forwardFlops,
  parameterCount,
  trainingFlopsPerToken,
  trainingMemory,
} from './model/arithmetic.ts';
export { fromHfConfig, type ModelConfig, modelConfig, toHfConfig } from './model/config.ts';
export { loadHfFolder, saveHfFolder, type SaveOptions } from './model/hf-folder.ts';
export { type ConvertOptions, type ConvertResult, convertWeights } from './model/megatron-convert.ts';
export { type MegatronFolder, openMegatronFolder } from './model/megatron-folder.ts';
export { type MegatronSplit, type MegatronTensor, megatronTensors, paddedVocabulary } from './model/megatron-layout.ts';

// train: the loop
export { Curriculum, curriculumOf, type CurriculumPlan, type Phase } from './train/curriculum.ts';
export { train, type TrainOptions, type TrainResult } from './train/loop.ts';
export { Stepper, type TrainingBatch, type TrainingData } from './train/step.ts';
export { RunControl } from './train/control.ts';

// generate: sampling and scoring
export { KvCache } from './generate/cache.ts';
export {
  type Finish,
  generate,
  type Generated,
  type GenerateEvent,
  generateEvents,
  type GenerateOptions,
} from './generate/generate.ts';
export { greedyToken, logProbability, type SampleOptions, sampleToken } from './generate/sample.ts';
export { type ScoreOptions, type ScoreSequence, scoreSequences } from './generate/score.ts';

// evaluate: what a model can do
export { type EvaluatedModel, evaluatedModel } from './evaluate/evaluated-model.ts';
export { type Evaluation, evaluateModels, type EvaluateOptions } from './evaluate/evaluate-stage.ts';
export { validationLoss } from './evaluate/validation.ts';

// posttrain: conversations from documents, rows for fine-tuning
export { type Conversation, conversationsOf } from './posttrain/conversations.ts';
export { makeConversations, type MakeConversationsOptions } from './posttrain/conversations-stage.ts';
export { type SftData, sftData, type SftDataOptions } from './posttrain/sft.ts';

// release: the folder that others load
export { dataSummary } from './release/data-summary.ts';
export { readContent } from './release/evidence.ts';
export { releaseModel, type ReleaseOptions } from './release/export.ts';

// cluster: launches elsewhere
export { argumentsText, type MegatronArgument, megatronArguments, type MegatronLaunch } from './cluster/megatron.ts';
export type { MegatronPhase } from './cluster/megatron-layout.ts';
export { type Edf, edfProblems, edfProblemsHere, parseEdf, renderEdf, resolveEdf, siteEdf } from './cluster/edf.ts';
export {
  type ImageManifest,
  type ImagePlan,
  imageDifferences,
  type ImageSpecInput,
  planImage,
} from './cluster/image.ts';
export { type CampaignFile, CampaignFolder } from './cluster/campaign-folder.ts';
export { type CampaignSpec, type CampaignSpecInput, parseCampaignSpec } from './cluster/campaign-spec.ts';
export { campaignStatus, type CampaignStatus } from './cluster/campaign-status.ts';
export type { Engine as CampaignEngine, StepCommand, StepEnd, StepPlace, StepVerdict } from './cluster/engine.ts';
export { engineOf, type EngineSpec } from './cluster/engines.ts';
export { type History, historyOf } from './cluster/history.ts';
export { readCampaignFiles } from './cluster/history-files.ts';
export { runLink } from './cluster/link.ts';
export type { LinkOptions } from './cluster/link-context.ts';
export type { MegatronPhasePlan, MegatronPlan } from './cluster/megatron-launch.ts';
export { absoluteSettings, type MegatronSettings, megatronSettingsSchema } from './cluster/megatron-settings.ts';
export {
  expectedSeconds,
  parseSimulation,
  simulate,
  type Simulation,
  type SimulationResult,
} from './cluster/simulate.ts';
export {
  type Ability,
  batchScript,
  type ClusterNode,
  type Job,
  type JobRequest,
  type Scheduler,
  SchedulerError,
} from './cluster/scheduler.ts';
export { firecrest, type Firecrest, type FirecrestOptions } from './cluster/schedulers/firecrest.ts';
export { localScheduler, type LocalOptions } from './cluster/schedulers/local.ts';
export { slurmCli, type SlurmCliOptions } from './cluster/schedulers/slurm-cli.ts';
export { slurmrestd, type SlurmrestdOptions } from './cluster/schedulers/slurmrestd.ts';
export { checkJob, environmentOf, type Site, storageFor } from './cluster/site.ts';
export { loadSite, sites } from './cluster/sites.ts';
export { checkPlacements, type Placement, placeAll, planStripes, type StripePlan } from './cluster/storage.ts';
export { judge, type Judgement, type NodeVerdict, type Verdict } from './cluster/vetting/judge.ts';
export type { NodeReport } from './cluster/vetting/measurements.ts';
export { vetNodes, type VetNodesOptions, type VetResult } from './cluster/vetting/vet-nodes.ts';

// commands: what the verbs do
export { campaignFile, submitCampaign } from './commands/campaign-submit.ts';
export { openRun, type OpenRunOptions, Run, type StageName } from './commands/run-folder.ts';
export { finishRun, runLine, stagesUpTo } from './commands/line.ts';
export { type DemoResult, runDemo } from './commands/demo.ts';
export { pretrainStage } from './commands/pretrain-stage.ts';
export { sftStage } from './commands/sft-stage.ts';
export { memorisationStage } from './commands/memorisation-stage.ts';
export { writeReport } from './commands/report.ts';
export { type GeneratedText, generateText, type GenerateTextOptions } from './commands/generate.ts';
export { scoreFile, type ScoreFileOptions, type ScoreFileResult } from './commands/score.ts';
export { decodeLines, encodeLines, type RejectedLine, type TokenizerLinesResult } from './commands/tokenizer-lines.ts';
export { changeVocabulary, type VocabularyChange } from './commands/tokenizer-change.ts';
export { compareTokenizers, comparisonTable, type NamedTokenizer, udhrLines } from './commands/tokenizer-eval.ts';
export { renderConversation, type RenderChatOptions, type RenderedChat } from './commands/chat-render.ts';
export { type Answer, Chat, type ChatSettings, openChat } from './commands/chat.ts';
export { type ModelFolder, openModelFolder } from './commands/model-folder.ts';
export { type RenderedMegatron, renderMegatron, type RenderMegatronOptions } from './commands/render.ts';
export {
  checkMegatronNodes,
  checkMegatronPlan,
  megatronPlan,
  type MegatronPlanOptions,
} from './commands/megatron-plan.ts';
export { type SimulatedCampaign, simulateCampaign, type SimulateOptions } from './commands/campaign-simulate.ts';
export { hasChanges, type Trace, type TraceNode, tracePath, traceText } from './commands/trace.ts';
export {
  type DocumentTrace,
  documentTraceText,
  type FineTuningTrace,
  traceDocument,
  type TrainingTrace,
} from './commands/trace-document.ts';
export { type Plan, planRecipe } from './commands/plan-recipe.ts';
export { planText } from './commands/plan-text.ts';
export { type DoctorReport, doctorText, examineMachine } from './commands/doctor.ts';
