# The lines of `cargo tree` with a depth before each, as CycloneDX. `|` stands between depth, package, licence and repository.

# "NAME VERSION" to the checksum that Cargo.lock has.
def checksums:
  [$lock | split("[[package]]\n")[1:][]
    | {key: (capture("name = \"(?<n>[^\"]+)\"\nversion = \"(?<v>[^\"]+)\"") | "\(.n) \(.v)"),
       value: (capture("checksum = \"(?<c>[0-9a-f]+)\"") // {c: null} | .c)}]
  | from_entries;

# Coffer's own crates are in no registry: what has the same name there is something else.
def purl:
  "pkg:cargo/\(.name)@\(.version | @uri)"
  + if .own then "?vcs_url=\("git+\($repository)@\($revision)" | @uri)" else "" end;

checksums as $checksums
| [inputs | select(length > 0) | split("|")
    | (.[1] | capture("^(?<name>\\S+) v(?<version>\\S+)")) as $id
    | {depth: (.[0] | tonumber), name: $id.name, version: $id.version, licence: .[2], repository: .[3],
       own: ($checksums["\($id.name) \($id.version)"] == null), checksum: $checksums["\($id.name) \($id.version)"]}
    | .ref = purl] as $lines
# Whoever stands last with a depth less than a line's own depends on it.
| (reduce $lines[] as $line ({above: [], edges: []};
    .above = .above[0:$line.depth] + [$line.ref]
    | if $line.depth > 0 then .edges += [[.above[$line.depth - 1], $line.ref]] else . end)
  | .edges | unique) as $edges
| ($lines | unique_by(.ref)) as $packages
| "image:\($name)" as $image
| {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      timestamp: $time,
      component: {type: "container", "bom-ref": $image, name: $name, version: $version, licenses: [{expression: "Apache-2.0"}]},
      properties: [
        {name: "coffer:revision", value: $revision},
        {name: "coffer:rustc", value: $rustc},
        {name: "coffer:cc", value: $cc}
      ]
    },
    components: ([$packages[] | {
        type: (if .depth == 0 then "application" else "library" end), "bom-ref": .ref, name, version, purl: .ref,
        licenses: [{expression: (.licence | gsub("/"; " OR "))}],
        hashes: [{alg: "SHA-256", content: .checksum}],
        externalReferences: [{type: "vcs", url: .repository}]
      }
      | if .hashes[0].content == null then del(.hashes) else . end
      | if .licenses[0].expression == "" then del(.licenses) else . end
      | if .externalReferences[0].url == "" then del(.externalReferences) else . end]
      # Rust's standard library, with the C library that it brings for static programs.
      + [{type: "library", "bom-ref": "rust", name: "rust", version: $rust, cpe: "cpe:2.3:a:rust-lang:rust:\($rust):*:*:*:*:*:*:*",
          licenses: [{expression: "MIT OR Apache-2.0"}]}]),
    dependencies: ([{ref: $image, dependsOn: ([$lines[] | select(.depth == 0).ref] + ["rust"])}]
      + [$packages[].ref as $ref | {ref: $ref, dependsOn: [$edges[] | select(.[0] == $ref)[1]]}])
  }
