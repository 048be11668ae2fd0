#!/bin/sh
# Install the real Fashion-MNIST from the Debian package, for machines that reach a package registry and nothing else.
# `make data` runs this when the data are nowhere on the machine and could not be downloaded.
set -u

package=dataset-fashion-mnist
folder=${FASHION_MNIST_FOLDER:-/usr/share/datasets/fashion-mnist}

explain() {
    cat >&2 <<TEXT
Fashion-MNIST could not be installed: $1
What works, any one of these:
  sudo apt-get install $package        (Debian and Ubuntu)
  EPOCHWISE_DATA=FOLDER make demo      with the four files in FOLDER: train-images-idx3-ubyte.gz,
                                       train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz
                                       (their home: https://github.com/zalandoresearch/fashion-mnist)
TEXT
    exit 4
}

command -v apt-get >/dev/null 2>&1 || explain "there is no apt-get here."
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    explain "installing a package needs root, and sudo asks for a password."
fi

install_package() {
    # shellcheck disable=SC2086  # empty for root
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$package" >&2
}

echo "installing the Debian package $package (the real Fashion-MNIST, 31 MB)" >&2
# The package lists may be absent or old: try as they are, then with fresh ones.
install_package || {
    $as_root apt-get update --quiet >&2
    install_package || explain "apt-get install $package failed; its messages are above."
}
[ -f "$folder/train-images-idx3-ubyte.gz" ] || explain "$package is installed, but $folder does not hold the files."
echo "Fashion-MNIST is in $folder"
