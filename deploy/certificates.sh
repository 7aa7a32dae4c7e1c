#!/bin/sh
# Creates the certificates for the connection between Envoy and authz, where there is no cert-manager.
#
#   deploy/certificates.sh FOLDER [DNS NAME OF AUTHZ …]
#
# FOLDER/authz and FOLDER/envoy each get tls.crt, tls.key and ca.crt, the names that cert-manager uses
# in a secret. Certificates that are valid for 30 more days stay. The CA's key is deleted, so a renewal
# replaces all files together, and both sides read them again.
set -eu
umask 077
folder=$1
shift
[ $# -gt 0 ] || set -- authz
days=365

is_good() {
    openssl x509 -in "$1" -noout -checkend 2592000 >/dev/null 2>&1
}

if is_good "$folder/authz/tls.crt" && is_good "$folder/envoy/tls.crt"; then
    echo "$folder: the certificates are good"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=
for name in "$@"; do names=${names:+$names,}DNS:$name; done

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" \
    -subj "/CN=authz internal CA" -keyout "$work/ca.key" -out "$work/ca.crt" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign \
    2>/dev/null

# Both sides read the same gateway.yaml and find their own pair at the same path, so each pair has to
# be valid for both uses. The names tell the two certificates apart.
issue() { # SIDE, NAMES
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
    cat >"$work/$1.ext" <<EOF
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=$2
EOF
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -days "$days" \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$work/$1.ext" -out "$work/$1.crt" 2>/dev/null
    mkdir -p "$folder/$1"
    # By rename, so that nobody reads half a file; the key first, so that the pair is whole last.
    for file in "$work/$1.key=tls.key" "$work/ca.crt=ca.crt" "$work/$1.crt=tls.crt"; do
        cp "${file%=*}" "$folder/$1/.${file#*=}.new"
        mv "$folder/$1/.${file#*=}.new" "$folder/$1/${file#*=}"
    done
}

issue authz "$names"
issue envoy DNS:envoy
echo "$folder: new certificates for $*"
