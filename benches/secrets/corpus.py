"""Writes files with secrets of known kinds, one each, and files that only look so: `corpus.py FOLDER [SEED]`.

Secrets have the form that their issuers give them, checksums included, and are made here: none opens anything. Each is in a file of its own
below `FOLDER/secrets/FAMILY/KIND`, in one of the ways that secrets stand in images; what is none is below `FOLDER/others/KIND`.
"""

import base64
import json
import pathlib
import random
import string
import subprocess
import sys
import zlib

EACH = 12
LOWER, UPPER, DIGIT = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM, HEX = DIGIT + UPPER + LOWER, DIGIT + "abcdef"
URL = ALNUM + "-_"


class Maker:
    def __init__(self, seed):
        self.chance = random.Random(seed)

    def text(self, characters, count):
        return "".join(self.chance.choice(characters) for _ in range(count))

    def bytes(self, count):
        return self.chance.randbytes(count)

    def base64(self, count):
        return base64.b64encode(self.bytes(count)).decode()

    def url64(self, count):
        return base64.urlsafe_b64encode(self.bytes(count)).decode().rstrip("=")

    def password(self):
        """What a person's program draws: every kind of character, none that a format would have to escape."""
        return self.text(LOWER, 4) + self.text(DIGIT, 3) + self.text(UPPER, 3) + self.text("-_.!" + ALNUM, 8)

    def github(self, prefix):
        """30 characters and their CRC-32 in base 62."""
        body, rest, end = self.text(ALNUM, 30), 0, ""
        rest = zlib.crc32(body.encode())
        for _ in range(6):
            end, rest = ALNUM[rest % 62] + end, rest // 62
        return prefix + body + end

    def key(self, *openssl):
        return subprocess.run(["openssl", *openssl], check=True, capture_output=True, text=True).stdout

    def jwt(self):
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
        return f'{part({"alg": "HS256", "typ": "JWT"})}.{part({"sub": self.text(LOWER, 8), "exp": 4102444800})}.{self.url64(32)}'

    def service_account(self):
        key = self.key("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        name = self.text(LOWER, 8)
        fields = {"type": "service_account", "project_id": name, "private_key_id": self.text(HEX, 40), "private_key": key,
                  "client_email": f"app@{name}.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token"}
        return json.dumps(fields, indent=2)


# How a token stands in a file: with its name where the kind's own form does not tell it.
WAYS = [
    lambda name, token: f"export {name.upper()}={token}\n",
    lambda name, token: f"service:\n  replicas: 2\n  {name.lower()}: {token}\n",
    lambda name, token: json.dumps({"service": "web", name.lower(): token}, indent=1) + "\n",
    lambda name, token: f'# settings\n{name.upper()} = "{token}"\nDEBUG = False\n',
]


def plain(name, make):
    """A token that is named like this."""
    return lambda maker, number: WAYS[number % len(WAYS)](name, make(maker))


def whole(make):
    """What is a file as it stands."""
    return lambda maker, number: make(maker)


FAMILIES = {
    "keys": {
        "rsa-pkcs1": whole(lambda m: m.key("genrsa", "-traditional", "2048")),
        "rsa-pkcs8": whole(lambda m: m.key("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")),
        "ec": whole(lambda m: m.key("ecparam", "-name", "prime256v1", "-genkey", "-noout")),
        "ed25519": whole(lambda m: m.key("genpkey", "-algorithm", "ed25519")),
    },
    "forges": {
        "github": plain("github_token", lambda m: m.github(m.chance.choice(["ghp_", "gho_", "ghs_"]))),
        "github-fine": plain("token", lambda m: "github_pat_" + m.text(ALNUM, 22) + "_" + m.text(ALNUM, 59)),
        "gitlab": plain("gitlab_token", lambda m: "glpat-" + m.text(URL, 20)),
        "npm": whole(lambda m: f"//registry.npmjs.org/:_authToken={m.github('npm_')}\n"),
        "pypi": whole(lambda m: f"[pypi]\nusername = __token__\npassword = pypi-AgEIcHlwaS5vcmc{m.url64(114)}\n"),
        "docker-hub": plain("docker_token", lambda m: "dckr_pat_" + m.text(URL, 27)),
    },
    "clouds": {
        "aws": whole(lambda m: f"[default]\naws_access_key_id = AKIA{m.text(UPPER + '234567', 16)}\n"
                               f"aws_secret_access_key = {m.text(ALNUM + '+/', 40)}\n"),
        "google-service-account": whole(lambda m: m.service_account()),
        "google-api": plain("api_key", lambda m: "AIza" + m.text(URL, 35)),
        "azure-storage": plain("connection", lambda m: f"DefaultEndpointsProtocol=https;AccountName={m.text(LOWER, 8)};"
                                                       f"AccountKey={m.base64(64)};EndpointSuffix=core.windows.net"),
        "digitalocean": plain("token", lambda m: "dop_v1_" + m.text(HEX, 64)),
        "vault": plain("vault_token", lambda m: "hvs." + m.text(URL, 90)),
        "databricks": plain("databricks_token", lambda m: "dapi" + m.text(HEX, 32)),
    },
    "services": {
        "slack": plain("slack_token", lambda m: f"xoxb-{m.text(DIGIT, 12)}-{m.text(DIGIT, 13)}-{m.text(ALNUM, 24)}"),
        "stripe": plain("stripe_key", lambda m: "sk_live_" + m.text(ALNUM, 24)),
        "sendgrid": plain("sendgrid_key", lambda m: f"SG.{m.text(URL, 22)}.{m.text(URL, 43)}"),
        "shopify": plain("shopify_token", lambda m: "shpat_" + m.text(HEX, 32)),
        "hugging-face": plain("token", lambda m: "hf_" + m.text(ALNUM, 34)),
        "anthropic": plain("api_key", lambda m: f"sk-ant-api03-{m.text(URL, 93)}AA"),
        "openai": plain("openai_api_key", lambda m: f"sk-proj-{m.text(URL, 74)}T3BlbkFJ{m.text(URL, 74)}"),
        "telegram": plain("telegram_bot_token", lambda m: f"{m.text('123456789', 10)}:AA{m.text(URL, 33)}"),
    },
    "credentials": {
        "password": plain("db_password", lambda m: m.password()),
        "url": plain("database_url", lambda m: f"postgres://app:{m.text(ALNUM, 20)}@db.internal:5432/app"),
        "docker-login": whole(lambda m: json.dumps({"auths": {"registry.internal": {
            "auth": base64.b64encode(f"app:{m.text(ALNUM, 20)}".encode()).decode()}}})),
        "jwt": plain("token", lambda m: m.jwt()),
        "header": whole(lambda m: f"curl -H 'Authorization: Bearer {m.text(ALNUM, 40)}' https://api.internal/\n"),
    },
}

OTHERS = {
    "uuid": plain("request_id", lambda m: "-".join(m.text(HEX, n) for n in (8, 4, 4, 4, 12))),
    "digest": plain("image", lambda m: f"registry.internal/app@sha256:{m.text(HEX, 64)}"),
    "commit": plain("revision", lambda m: m.text(HEX, 40)),
    "integrity": whole(lambda m: json.dumps({"packages": {"node_modules/a": {
        "version": "1.0.0", "integrity": f"sha512-{m.base64(64)}"}}}, indent=2)),
    "public-key": whole(lambda m: subprocess.run(["openssl", "pkey", "-pubout"], check=True, capture_output=True, text=True,
                                                 input=m.key("genpkey", "-algorithm", "ed25519")).stdout),
    "ssh-public-key": whole(lambda m: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + m.base64(32)[:43] + " app@host\n"),
    "image-data": whole(lambda m: f'.logo {{ background: url("data:image/png;base64,{m.base64(600)}") }}\n'),
    "variable": plain("db_password", lambda m: m.chance.choice(["${DB_PASSWORD}", "$(cat /run/secrets/db)", "{{ db.password }}", "%(db_password)s"])),
    "file-name": plain("db_password_file", lambda m: f"/run/secrets/{m.text(LOWER, 10)}"),
    "placeholder": plain("api_key", lambda m: m.chance.choice(["your-api-key-here", "ghp_" + "x" * 36, "changeme", "<insert token>", "sk_live_xxxxxxxxxxxxxxxxxxxxxxxx"])),
    "documentation": whole(lambda m: "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"),
    "password-hash": whole(lambda m: f"app:$6${m.text(ALNUM, 16)}${m.text(ALNUM + './', 86)}:19700:0:99999:7:::\n"),
    "minified": whole(lambda m: "".join(f"var {m.text(LOWER, 1)}={{key:{m.text(LOWER, 2)},token:{m.text(LOWER, 1)}.next()}};" for _ in range(200))),
}


def main():
    folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    maker = Maker(seed)
    sorts = [(pathlib.Path("secrets") / family, kinds) for family, kinds in FAMILIES.items()] + [(pathlib.Path("others"), OTHERS)]
    for path, kinds in sorts:
        for kind, make in kinds.items():
            (folder / path / kind).mkdir(parents=True, exist_ok=True)
            for number in range(EACH):
                (folder / path / kind / f"{number}.conf").write_text(make(maker, number))


main()
