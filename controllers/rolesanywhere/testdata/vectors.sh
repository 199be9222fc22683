#!/bin/sh
# Makes the certificates and the vectors of this folder with OpenSSL 3 and Python 3. It uses none of the operator's code.
#
#   sh vectors.sh
#
# Each case gets a new key, so each run changes all files.
set -eu
cd "$(dirname "$0")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
rm -f ./*.pem ./*.json

# issue NAME EXTENSIONS ISSUER: a certificate for NAME.key, signed by ISSUER, which is itself for a root.
issue() {
	printf '%s\n' "$2" >"$work/ext"
	openssl req -new -key "$1.key" -subj "/CN=$1" -out "$work/csr"
	if [ "$1" = "$3" ]; then
		openssl x509 -req -in "$work/csr" -signkey "$1.key" -days 36500 -sha256 -extfile "$work/ext" -out "$1.crt" 2>/dev/null
	else
		openssl x509 -req -in "$work/csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 36500 -sha256 -extfile "$work/ext" -out "$1.crt" 2>/dev/null
	fi
}

ca='basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign'
end='basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature'

here="$(pwd)"
cd "$work"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out root.key
issue root "$ca" root
for name in outer inner; do
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key"
done
issue outer "$ca" root
issue inner "$ca" outer

for kind in rsa2048 p256 p384; do
	case "$kind" in
	rsa2048) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$kind.key" ;;
	p256) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$kind.key" ;;
	p384) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$kind.key" ;;
	esac
	issue "$kind" "$end" root
	python3 "$here/vectors.py" "$kind" "$kind.key" "$kind.crt" >"$here/$kind.json"
	issue "$kind" "$end" inner
	cat "$kind.crt" inner.crt outer.crt >"$kind-chain.crt"
	python3 "$here/vectors.py" "$kind-chain" "$kind.key" "$kind-chain.crt" >"$here/$kind-chain.json"
done
