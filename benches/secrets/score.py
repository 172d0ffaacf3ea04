"""Runs scanners over a corpus and a clean root, and prints who found what: `score.py WORK ROOT NAME=PROGRAM...`; ROOT may be empty."""

import collections
import hashlib
import io
import json
import pathlib
import resource
import subprocess
import sys
import tarfile


def image(folder, archive):
    """An image whose one layer is a folder."""
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        tar.add(folder, arcname=".")
    with layer.open("rb") as file:
        diff = hashlib.file_digest(file, "sha256").hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"User": "65532"},
                         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["corpus:1"], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for name, data in [("config.json", config), ("manifest.json", manifest)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer, arcname="layer.tar")
    return archive


def coffer(program, folder, report):
    archive = image(folder, report.with_suffix(".tar"))
    ran = subprocess.run([program, "scan", "image", archive, "--fail-on", "none", "-o", "json"], capture_output=True, check=True)
    found = {"gate": set(), "report": set()}
    for finding in json.loads(ran.stdout)["findings"]:
        layer, _, path = finding.get("subject", "").partition(": /")
        if finding["status"] == "fail" and layer.startswith("layer") and finding["id"] in SECRETS:
            found["report"].add(path)
            if finding["tier"] == "gate":
                found["gate"].add(path)
    return found


# The checks of secrets in layers.
SECRETS = {f"IMG-{number:02}" for number in range(1, 10)}


def trivy(program, folder, report):
    run(program, "fs", "--scanners", "secret", "--skip-check-update", "--offline-scan", "--quiet", "-f", "json", "-o", report, folder)
    return {result["Target"] for result in json.loads(report.read_text()).get("Results", []) if result.get("Secrets")}


def gitleaks(program, folder, report):
    run(program, "dir", folder, "--no-banner", "-l", "error", "-f", "json", "-r", report, "--exit-code", "0")
    return {within(folder, finding["File"]) for finding in json.loads(report.read_text() or "[]")}


def betterleaks(program, folder, report):
    run(program, folder, "--no-banner", "-l", "error", "-o", report, "--exit-code", "0")
    return {within(folder, path) for path in paths(json.loads(report.read_text() or "[]"))}


def kingfisher(program, folder, report):
    run(program, "scan", folder, "--format", "json", "--no-validate", "--no-update-check", "-o", report, codes=(0, 200))
    findings = json.loads(report.read_text())["findings"]
    return {within(folder, finding["finding"]["path"]) for finding in findings}


def paths(value):
    """Whatever is called a file's name, wherever it is in a report."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name.lower() in ("file", "path") and isinstance(inner, str):
                yield inner
            else:
                yield from paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner)


def within(folder, path):
    path = pathlib.Path(path)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def run(*arguments, codes=(0,)):
    ran = subprocess.run([str(argument) for argument in arguments], capture_output=True)
    if ran.returncode not in codes:
        sys.exit(f"{arguments[0]} ended with {ran.returncode}: {ran.stderr.decode()[-500:]}")


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    work, root, programs = pathlib.Path(sys.argv[1]), sys.argv[2], dict(argument.split("=", 1) for argument in sys.argv[3:])
    corpus = work / "corpus"
    files = [str(path.relative_to(corpus)) for path in sorted(corpus.rglob("*.conf"))]
    found, seconds = {}, {}
    for name, program in programs.items():
        before = used()
        result = globals()[name](program, corpus, work / f"{name}.json")
        tiers = {f"{name} {tier}": paths for tier, paths in result.items()} if isinstance(result, dict) else {name: result}
        in_root = {}
        if root:
            clean = globals()[name](program, pathlib.Path(root), work / f"{name}-root.json")
            in_root = {f"{name} {tier}": paths for tier, paths in clean.items()} if isinstance(clean, dict) else {name: clean}
        for tier, paths_found in tiers.items():
            found[tier] = (paths_found, in_root.get(tier, set()))
            seconds[tier] = used() - before
    kinds = collections.defaultdict(list)
    for file in files:
        kinds[file.rsplit("/", 1)[0]].append(file)
    families = sorted({kind.split("/")[1] for kind in kinds if kind.startswith("secrets/")})
    print("| found of the family | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
    secrets = [file for file in files if file.startswith("secrets/")]
    for label, members in [*((family, [file for file in secrets if file.split("/")[1] == family]) for family in families), ("all", secrets)]:
        shares = [sum(file in paths_found for file in members) / len(members) for paths_found, _ in found.values()]
        print(f"| {label} ({len(members)}) | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    others = [file for file in files if file.startswith("others/")]
    mistakes = [sum(file in paths_found for file in others) for paths_found, _ in found.values()]
    print(f"| taken for one, of {len(others)} that are none | " + " | ".join(map(str, mistakes)) + " |")
    clean = [len(in_root) for _, in_root in found.values()]
    if root:
        print("| files of the clean root | " + " | ".join(map(str, clean)) + " |")
    right = [sum(file in paths_found for file in secrets) for paths_found, _ in found.values()]
    precision = [r / max(1, r + m + c) for r, m, c in zip(right, mistakes, clean)]
    print("| precision | " + " | ".join(f"{share:.3f}" for share in precision) + " |")
    print("| processor time, s | " + " | ".join(f"{seconds[tier]:.1f}" for tier in found) + " |")
    for tier, (paths_found, in_root) in found.items():
        missed = collections.Counter(file.rsplit("/", 1)[0] for file in secrets if file not in paths_found)
        wrong = collections.Counter(file.rsplit("/", 1)[0] for file in others if file in paths_found)
        print(f"\n{tier}: missed {dict(missed)}; wrong {dict(wrong)} {sorted(in_root)[:20]}")


main()
