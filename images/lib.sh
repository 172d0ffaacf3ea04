# Shared by the scripts beside it: what each image is made of, and how its programs are built. Source it, do not run it.
set -euo pipefail
umask 022
export LC_ALL=C

triple=x86_64-unknown-linux-musl
target=$(realpath -m "${CARGO_TARGET_DIR:-$top/target}")

say() { printf '%s\n' "images: $*" >&2; }
needed() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null || { say "$command is not installed: images/build --help says what is needed"; exit 2; }
  done
}

# packages NAME: the packages of an image's programs; programs NAME: what the programs are called.
packages() { case $1 in server) echo coffer-server coffer-cli ;; *) echo "coffer-$1" ;; esac; }
programs() { case $1 in server) echo coffer-server coffer ;; *) echo "coffer-$1" ;; esac; }
profile() { case $1 in agent | node) echo agent ;; *) echo image ;; esac; }
binary() { echo "$target/$triple/$(profile "$1")/$2"; }
# about NAME FIELD: what the image's first package says of itself.
about() { cargo metadata --locked --no-deps --format-version 1 | jq -r --arg name "coffer-$1" --arg field "$2" '.packages[] | select(.name == $name)[$field]'; }

# What is built: sets version, repository, revision and epoch, the time of the last commit.
describe_source() {
  version=$(about server version) repository=$(about server repository)
  revision=$(git rev-parse HEAD) epoch=$(git log -1 --format=%ct)
  if [[ $(git status --porcelain --untracked-files=no) ]]; then revision+=-dirty; fi
}

# compile NAME: an image's programs, each image's by itself, so that its bytes do not depend on what else is built. Paths of this
# machine are replaced, in Rust's code and in C's; nothing of the environment that changes code is let in.
compile() {
  local cargo=${CARGO_HOME:-$HOME/.cargo} rust selected=() of_rust=() of_c=() name
  for name in $(packages "$1"); do selected+=(--package "$name"); done
  rustup target list --installed | grep -qx "$triple" || rustup target add "$triple" >&2
  rust=$(rustc --print sysroot)
  of_rust=("$cargo=/cargo" "$rust=/rust" "$top=/coffer") of_c=("$cargo=/cargo" "$top=/coffer")
  if [[ $target != "$top/target" ]]; then of_rust+=("$target=/coffer/target") of_c+=("$target=/coffer/target"); fi
  if [[ $cargo$top$target == *[[:space:]]* ]]; then say "a C compiler's flags cannot have a folder with a space in its name"; return 2; fi
  (
    for name in $(compgen -e); do
      case $name in
        RUSTFLAGS | CARGO_BUILD_RUSTFLAGS | CARGO_TARGET_X86_64_* | CARGO_PROFILE_* | *CFLAGS* | CC | CC_* | TARGET_CC | REALGCC) unset "$name" ;;
        # What cargo tells a test of its own package would have it build ring, and all above, once more.
        CARGO_PKG_* | CARGO_MANIFEST_* | CARGO_BIN_* | CARGO_CRATE_NAME | CARGO_PRIMARY_PACKAGE) unset "$name" ;;
      esac
    done
    # mimalloc has the time of its compilation in it, which is none that tells anything: not the commit's, for what was built before stays.
    export CARGO_ENCODED_RUSTFLAGS CARGO_INCREMENTAL=0 SOURCE_DATE_EPOCH=0
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${of_rust[*]/#/--remap-path-prefix=}")$'\x1f'-Clink-arg=-Wl,--build-id=none
    export "CFLAGS_${triple//-/_}=${of_c[*]/#/-ffile-prefix-map=}"
    cargo build --locked --target-dir "$target" --target "$triple" --profile "$(profile "$1")" "${selected[@]}" >&2
  )
}
