// Any processor.
// The loops are in classifier.inl; this file only names the target.
#define BELAY_TRAIN belay_train_portable
#include "classifier.inl"
