use std::{process::Command, time::Duration};

use super::*;
use crate::{
    reading::given,
    render::template::{TEMPLATE_BYTES_MAX, Template},
};

fn source() -> Source {
    Source::newest("kv/a")
}

fn rendered(format: Format, fields: &[(&str, &[u8])]) -> Result<Vec<u8>, RenderError> {
    rendered_of(format, given(fields))
}

fn rendered_of(format: Format, given: Given) -> Result<Vec<u8>, RenderError> {
    let file =
        SecretFile { name: "file".to_owned(), sources: BTreeMap::from([("secret".to_owned(), source())]), format, mode: 0o400 };
    render(&file, &BTreeMap::from([(source(), given)])).map(SecretBytes::into_exposed)
}

fn template(text: &str, fields: &[(&str, &[u8])]) -> Result<String, String> {
    template_of(text, given(fields))
}

fn template_of(text: &str, given: Given) -> Result<String, String> {
    let template = Template::parse("t".to_owned(), text.to_owned()).map_err(|error| error.to_string())?;
    let content = rendered_of(Format::Template(template), given).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(content).unwrap())
}

/// A credential of one field, with a lease where there is an id.
fn credential(id: Option<&str>) -> Given {
    let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let term = Term { lease: id.map(str::to_owned), issued: at(0), expires: at(951_825_599) };
    Given { term: Some(term), ..given(&[("username", b"app")]) }
}

#[test]
fn raw_is_the_field_byte_by_byte() {
    let fields: &[(&str, &[u8])] = &[("key", b"\xff\0\n"), ("other", b"x")];
    assert_eq!(rendered(Format::Raw { field: Some("key".to_owned()) }, fields).unwrap(), b"\xff\0\n");
    let message = rendered(Format::Raw { field: Some("none".to_owned()) }, fields).unwrap_err().to_string();
    assert_eq!(message, "kv/a: there is no field \"none\"; there are: key, other");
}

#[test]
fn raw_without_a_field_takes_the_only_one() {
    assert_eq!(rendered(Format::Raw { field: None }, &[("only", b"v")]).unwrap(), b"v");
    assert!(rendered(Format::Raw { field: None }, &[("a", b"1"), ("b", b"2")]).unwrap_err().to_string().contains("a, b"));
}

#[test]
fn json_is_an_object_of_strings_sorted_by_name() {
    let out = rendered(Format::Json, &[("b\"", b"two\n\"\\"), ("a", "\u{1f512}".as_bytes())]).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":\"\u{1f512}\",\"b\\\"\":\"two\\n\\\"\\\\\"}");
    assert!(rendered(Format::Json, &[("bin", b"\xff")]).unwrap_err().to_string().contains("bin_b64"));
}

#[test]
fn a_shell_reads_back_what_dotenv_wrote() {
    let values: &[&str] = &[
        "",
        "plain",
        "two words",
        "it's",
        "it's \"both\"",
        "a$HOME `id` $(id) \\n \\",
        "it's $HOME",
        "line one\nline 'two'\n",
        "#no comment",
        "~/x *? [a-z] {b,c}",
        "!history",
        "it's !history",
        "'",
        "''\\''",
        "\r\n\t",
        "trailing\\",
        "=;&|<>()",
        "\u{e9}\u{1f512}",
        "\u{1b}[0m",
    ];
    let shell = ["dash", "bash", "sh"];
    for value in values {
        let content = rendered(Format::Dotenv, &[("V", value.as_bytes())]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("env");
        std::fs::write(&file, &content).unwrap();
        let mut ran = 0;
        for shell in shell {
            // The marker keeps newlines at the end, which $(...) in a test would lose.
            let Ok(out) = Command::new(shell).args(["-eu", "-c", ". \"$0\"; printf '%s|' \"$V\""]).arg(&file).output() else {
                continue;
            };
            let text = String::from_utf8_lossy(&content);
            assert!(out.status.success(), "{shell} fails on {text}: {}", String::from_utf8_lossy(&out.stderr));
            assert_eq!(String::from_utf8(out.stdout).unwrap(), format!("{value}|"), "{shell} reads {text}");
            ran += 1;
        }
        assert!(ran > 0, "there is no shell to test with");
    }
}

#[test]
fn dotenv_keeps_one_variable_a_line_for_harmless_values() {
    let out = rendered(Format::Dotenv, &[("USER", b"app"), ("PASS_1", b"p'w"), ("_x", b"a b")]).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "PASS_1=\"p'w\"\nUSER=app\n_x='a b'\n");
}

#[test]
fn dotenv_refuses_what_no_variable_can_be() {
    for (field, value, expected) in [
        ("a-b", &b"x"[..], "cannot be a shell variable"),
        ("1a", b"x", "cannot be a shell variable"),
        ("a;id", b"x", "cannot be a shell variable"),
        ("a", b"\0", "zero byte"),
        ("a", b"\xff", "not UTF-8"),
    ] {
        let message = rendered(Format::Dotenv, &[(field, value)]).unwrap_err().to_string();
        assert!(message.contains(expected), "{field}: {message}");
    }
}

#[test]
fn templates_see_fields_as_text_unescaped() {
    let fields: &[(&str, &[u8])] = &[("user", b"app"), ("pass-word", b"<&'\">")];
    let text = "u={{ secret.user }} p={{ secret[\"pass-word\"] }} n={{ secret|length }}\n";
    assert_eq!(template(text, fields).unwrap(), "u=app p=<&'\"> n=2\n");
}

#[test]
fn template_filters_encode_and_decode() {
    assert_eq!(template("{{ secret.a|b64encode }}", &[("a", b"hello")]).unwrap(), "aGVsbG8=");
    assert_eq!(template("{{ secret.a|b64decode }}", &[("a", b"aGVsbG8=\n")]).unwrap(), "hello");
    assert_eq!(template("{{ secret.a|tojson }}", &[("a", b"q\"")]).unwrap(), "\"q\\\"\"");
    assert!(template("{{ secret.a|b64decode }}", &[("a", b"!")]).unwrap_err().contains("b64decode: not base64"));
}

#[test]
fn a_binary_field_is_there_in_base64() {
    assert_eq!(template("{{ secret.key_b64 }}", &[("key", b"\xff\xfe")]).unwrap(), "//4=");
    let message = template("{{ secret.key }}", &[("key", b"\xff\xfe")]).unwrap_err();
    assert_eq!(message, "t, line 1: not defined: secret.key; there are: secret.key_b64");
}

#[test]
fn what_is_not_defined_is_named() {
    let message = template("ok\n{{ secret.pasword }}{{ other.x }}", &[("password", b"x")]).unwrap_err();
    assert_eq!(message, "t, line 2: not defined: other.x, secret.pasword; there are: secret.password");
    assert!(template("{% if secret.flag %}x{% endif %}", &[("a", b"x")]).is_err());
    assert_eq!(template("{{ secret.flag|default('no') }}", &[("a", b"x")]).unwrap(), "no");
}

#[test]
fn templates_see_how_long_a_credential_lasts_and_loops_see_its_fields_alone() {
    let user = || credential(Some("database/creds/app/0f"));
    let text = "{{ secret.username }} {{ secret.lease.id }} {{ secret.lease.issued }} {{ secret.lease.expires }}";
    assert_eq!(template_of(text, user()).unwrap(), "app database/creds/app/0f 1970-01-01T00:00:00Z 2000-02-29T11:59:59Z");
    let text = "{% for name in secret %}{{ name }},{% endfor %}{{ secret|length }} {{ secret|items|length }} {{ secret|tojson }}";
    assert_eq!(template_of(text, user()).unwrap(), "username,1 1 {\"username\": \"app\"}");
    assert_eq!(template_of("{{ secret.lease.expires }}", credential(None)).unwrap(), "2000-02-29T11:59:59Z");
    assert_eq!(
        template_of("{{ secret.lease.id }}", credential(None)).unwrap_err(),
        "t, line 1: not defined: secret.lease.id; there are: secret.username, secret.lease.expires, secret.lease.issued"
    );
    let message = template("{{ secret.lease.expires }}", &[("a", b"x")]).unwrap_err();
    assert_eq!(message, "t, line 1: not defined: secret.lease.expires; there are: secret.a");
    assert_eq!(template("{{ secret.lease }}", &[("lease", b"a field")]).unwrap(), "a field");
}

#[test]
fn template_errors_show_no_value() {
    const VALUE: &str = "canary-7f3a";
    for text in [
        "{{ secret.a|int }}",
        "{{ secret.a + 1 }}",
        "{{ secret.a.b.c }}",
        "{{ secret.a() }}",
        "{{ secret.a.upper(1, 2, 3) }}",
        "{{ secret.a|round }}",
        "{{ secret[secret.a] }}",
        "{{ secret.a|b64decode }}",
        "{% include secret.a %}",
        "{{ secret.a|map(secret.a)|list }}",
        "{{ range(secret.a) }}",
        "{% for x, y in [secret.a] %}{% endfor %}",
    ] {
        let message = template(text, &[("a", VALUE.as_bytes())]).unwrap_err();
        assert!(!message.contains(VALUE), "{text}: {message}");
    }
}

#[test]
fn templates_are_bounded_in_size_work_and_output() {
    let parse = |length: usize| Template::parse("t".to_owned(), "x".repeat(length));
    assert!(parse(TEMPLATE_BYTES_MAX).is_ok());
    assert!(parse(TEMPLATE_BYTES_MAX + 1).unwrap_err().to_string().contains("larger than 262144 bytes"));

    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}";
    assert!(template(endless, &[]).unwrap_err().contains("does too much"));
    assert!(template("{{ 'x' * 90000000 }}", &[]).is_err());

    let megabyte = vec![b'x'; 1 << 20];
    let four = "{{ secret.a }}{{ secret.a }}{{ secret.a }}{{ secret.a }}";
    assert_eq!(template(four, &[("a", &megabyte)]).unwrap().len(), FILE_BYTES_MAX);
    let message = template(&format!("{four}x"), &[("a", &megabyte)]).unwrap_err();
    assert!(message.contains("the output is larger than 4194304 bytes"), "{message}");
}

#[test]
fn a_file_waits_for_all_its_secrets() {
    let file = SecretFile {
        name: "file".to_owned(),
        sources: BTreeMap::from([("secret".to_owned(), source())]),
        format: Format::Json,
        mode: 0o400,
    };
    assert!(matches!(render(&file, &BTreeMap::new()), Err(RenderError::NotRead(_))));
}
