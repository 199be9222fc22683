"""Prints a vector for SigV4-X509 as JSON: what is signed, and a signature by OpenSSL.

It follows the IAM Roles Anywhere User Guide, "The IAM Roles Anywhere authentication signing process", with the standard
library and the openssl command only.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
from urllib.parse import quote

name, key_file, certificate_file = sys.argv[1:]

REGION = "eu-west-1"
DATE = "20261124T103045Z"
HOST = "rolesanywhere.eu-west-1.amazonaws.com"
QUERY = {
    "profileArn": "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/11111111-2222-3333-4444-555555555555",
    "roleArn": "arn:aws:iam::123456789012:role/team a/S3+Reader=1",
    "trustAnchorArn": "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/66666666-7777-8888-9999-aaaaaaaaaaaa",
}
BODY = '{"durationSeconds":43200,"roleSessionName":"shop.s3-reader"}'


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout


pem = open(certificate_file).read()
blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.S)
encoded = ["".join(block.splitlines()[1:-1]) for block in blocks]
for text in encoded:
    base64.b64decode(text, validate=True)
serial = int(openssl("x509", "-noout", "-serial", data=blocks[0].encode()).decode().strip().split("=")[1], 16)

headers = {"content-type": "application/json", "host": HOST, "x-amz-date": DATE, "x-amz-x509": encoded[0]}
if encoded[1:]:
    headers["x-amz-x509-chain"] = ",".join(encoded[1:])
signed_headers = ";".join(sorted(headers))
query = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(QUERY.items()))
canonical = "\n".join(
    ["POST", "/sessions", query]
    + [f"{k}:{headers[k]}" for k in sorted(headers)]
    + ["", signed_headers, hashlib.sha256(BODY.encode()).hexdigest()]
)

algorithm = "AWS4-X509-RSA-SHA256" if name.startswith("rsa") else "AWS4-X509-ECDSA-SHA256"
scope = f"{DATE[:8]}/{REGION}/rolesanywhere/aws4_request"
to_sign = "\n".join([algorithm, DATE, scope, hashlib.sha256(canonical.encode()).hexdigest()])
# For RSA keys, openssl dgst -sign uses PKCS #1 v1.5, and for ECDSA keys ASN.1 DER.
signature = openssl("dgst", "-sha256", "-sign", key_file, data=to_sign.encode()).hex()

print(
    json.dumps(
        {
            "certificate": pem,
            "key": open(key_file).read(),
            "query": QUERY,
            "host": HOST,
            "region": REGION,
            "date": DATE,
            "body": BODY,
            "canonicalRequest": canonical,
            "stringToSign": to_sign,
            "signature": signature,
            "authorization": f"{algorithm} Credential={serial}/{scope}, SignedHeaders={signed_headers}, Signature=",
        },
        indent=1,
    )
)
