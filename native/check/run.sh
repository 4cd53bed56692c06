#!/bin/sh
# Builds check.cpp against all CPU kernels and runs it: once as shipped, once under the address and undefined
# behaviour sanitizers; so data-check.cpp against the data kernels. Then tokenizer-check.cpp against the tokenizer,
# train-check.cpp against its training and comm-check.cpp against the message layer: under those, and under the thread
# sanitizer where the compiler has one. Needs g++ and nothing else; arguments go to check.cpp (a target's name runs that one).
#
# Does not: touch native/build; objects go to a temporary folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
CXX=${CXX:-g++}
common="-std=c++20 -Wall -Wextra -ffp-contract=off -fno-math-errno -pthread"
avx512="-mavx2 -mfma -mavx512f -mavx512bw -mavx512vl -mavx512dq"

flags_of() {
  case "$(uname -m)/$1" in
    x86_64/target-avx2.cpp|x86_64/minima-avx2.cpp|x86_64/classifier-avx2.cpp) echo "-mavx2 -mfma" ;;
    x86_64/target-avx512.cpp|x86_64/minima-avx512.cpp) echo "$avx512" ;;
    x86_64/target-avx512bf16.cpp) echo "$avx512 -mavx512bf16" ;;
    *) echo "" ;;
  esac
}

check() {  # check <name> <flags>
  name=$1
  flags=$2
  shift 2
  echo "== $name"
  mkdir "$objects/$name"
  for source in "$here"/../cpu/*.cpp; do
    file=$(basename "$source")
    # shellcheck disable=SC2046,SC2086
    $CXX $common $flags -fno-exceptions -fno-rtti $(flags_of "$file") -c "$source" -o "$objects/$name/$file.o" &
  done
  # shellcheck disable=SC2086
  $CXX $common $flags -c "$here/check.cpp" -o "$objects/$name/check.o"
  wait
  # shellcheck disable=SC2086
  $CXX $flags -pthread "$objects/$name"/*.o -o "$objects/$name/check"
  "$objects/$name/check" "$@"
}

check optimised "-O3" "$@"
check sanitized "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined" "$@"

check_data() {  # check_data <name> <flags>
  echo "== data kernels, $1"
  mkdir "$objects/data-$1"
  for source in "$here"/../data/*.cpp; do
    file=$(basename "$source")
    # shellcheck disable=SC2046,SC2086
    $CXX $common $2 -fno-exceptions -fno-rtti $(flags_of "$file") -c "$source" -o "$objects/data-$1/$file.o"
  done
  # shellcheck disable=SC2086
  $CXX $common $2 -c "$here/data-check.cpp" -o "$objects/data-$1/check.o"
  # shellcheck disable=SC2086
  $CXX $2 -pthread "$objects/data-$1"/*.o -o "$objects/data-$1/check"
  "$objects/data-$1/check"
}

check_data optimised "-O3"
check_data sanitized "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined"

check_comm() {  # check_comm <name> <flags>
  echo "== message layer, $1"
  # shellcheck disable=SC2086
  $CXX $common -O1 -g -fno-exceptions -fno-rtti $2 "$here/comm-check.cpp" "$here"/../comm/*.cpp -ldl -o "$objects/comm-$1"
  "$objects/comm-$1"
}

check_tokenizer() {  # check_tokenizer <name> <flags>
  echo "== tokenizer, $1"
  # shellcheck disable=SC2086
  $CXX $common -O1 -g -fno-exceptions -fno-rtti $2 "$here/tokenizer-check.cpp" "$here"/../tokenizer/*.cpp -o "$objects/tokenizer-$1"
  "$objects/tokenizer-$1"
}

check_tokenizer sanitized "-fsanitize=address,undefined -fno-sanitize-recover=undefined"

check_train() {  # check_train <name> <flags>
  echo "== training of tokenizers, $1"
  # shellcheck disable=SC2086
  $CXX $common -O1 -g -fno-exceptions -fno-rtti $2 "$here/train-check.cpp" "$here"/../tokenizer/*.cpp -o "$objects/train-$1"
  "$objects/train-$1"
}

check_train sanitized "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
check_comm sanitized "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
echo 'int main() {}' > "$objects/empty.cpp"
# Some kernels lay out memory in a way that older thread sanitizers do not start in.
if $CXX -fsanitize=thread "$objects/empty.cpp" -o "$objects/empty" 2>/dev/null && "$objects/empty" 2>/dev/null; then
  check_tokenizer threads "-fsanitize=thread"
  check_comm threads "-fsanitize=thread"
  check_train threads "-fsanitize=thread"
else
  echo "== tokenizer, message layer and training: not run under the thread sanitizer, which does not start here"
fi
