//! What the agent is given by those who write manifests: its configuration, and templates.

use std::collections::BTreeSet;

use coffer_agent::reading;

pub(crate) const CONFIG_WORDS: &[&str] = &[
    "[vault]\n",
    "[output]\n",
    "[[secrets]]\n",
    "[notify]\n",
    "[init]\n",
    "[sidecar]\n",
    "address = ",
    "name = ",
    "path = ",
    "paths = { a = ",
    "format = \"raw\"",
    "format = \"json\"",
    "format = \"template\"",
    "field = ",
    "template = ",
    "mode = \"0777\"",
    "mode = \"4755\"",
    "version = 1",
    "uid = 0",
    "deadline = \"1s\"",
    "deadline = \"99999999999999999999y\"",
    "poll = \"10s\"",
    "\"\"\"",
    "''",
    "..",
    "/",
    "\\u0000",
    "\n",
    "#",
    "= 1979-05-27",
    "= 9223372036854775808",
    "= inf",
    "= [",
    "= {",
];
pub(crate) const TEMPLATE_WORDS: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "secret.field",
    "secret.binary_b64",
    "secret",
    "for x in ",
    "endfor",
    "if ",
    "endif",
    "macro m()",
    "endmacro",
    "m()",
    "range(99999)",
    " * 99999",
    " ~ ",
    "|b64encode",
    "|b64decode",
    "|upper",
    "|tojson",
    "|length",
    "|join(secret.field)",
    "set x = ",
    "include 'a'",
    "raw",
    "endraw",
    "loop.index",
    "-",
    "namespace(a=1)",
    "debug()",
    "\"",
    "'",
    "\\",
];
/// Paths of one configuration: those of one watch.
const PATHS_MAX: usize = 128;

pub(crate) fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Which names files of this machine.
    if text.contains("template_file") {
        return;
    }
    let read = reading::config(text);
    assert_eq!(read, reading::config(text), "the same text is read differently");
    match read {
        Ok(files) => {
            assert!(!files.is_empty(), "a configuration without secrets is none");
            let names: BTreeSet<_> = files.iter().map(|file| &file.name).collect();
            assert_eq!(names.len(), files.len(), "two files of one name");
            let paths: BTreeSet<_> = files.iter().flat_map(|file| &file.paths).collect();
            assert!((1..=PATHS_MAX).contains(&paths.len()));
            for file in &files {
                assert!((1..=0o777).contains(&file.mode), "{:o}", file.mode);
                let name = file.name.as_str();
                assert!(
                    (1..=255).contains(&name.len()) && !name.contains('/') && name != "." && !name.starts_with(".."),
                    "{name:?}"
                );
                assert!(!name.contains('\0'));
            }
        }
        Err(message) => {
            assert!(!message.is_empty());
            let line = message.strip_prefix("fuzz.toml:").and_then(|rest| rest.split_once(':')?.0.parse::<usize>().ok());
            assert!(line.is_none_or(|line| (1..=text.matches('\n').count() + 1).contains(&line)), "{message}");
        }
    }
}

/// A value that no message may have in it.
const VALUE: &str = "q9Z-value-of-a-secret-q9Z";

pub(crate) fn template(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let fields: &[(&str, &[u8])] = &[("field", VALUE.as_bytes()), ("binary", b"\xff\x00"), ("empty", b"")];
    let rendered = reading::template(text, fields);
    assert_eq!(rendered, reading::template(text, fields), "the same template gives something else");
    match rendered {
        Ok(content) => {
            assert!(content.len() <= reading::FILE_BYTES_MAX, "{} bytes", content.len());
            if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
                assert_eq!(content, text.as_bytes(), "text without marks is itself");
            }
        }
        Err(message) => {
            assert!(!message.is_empty());
            assert!(text.contains(VALUE) || !message.contains(VALUE), "a message tells a value: {message}");
        }
    }
}
