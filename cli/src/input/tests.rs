use std::io::Write as _;

use super::*;

fn parsed(text: &str) -> String {
    match FieldArgument::parse(text) {
        Ok(FieldArgument::Literal(name, value)) => format!("{name} literal {}", String::from_utf8_lossy(value.expose())),
        Ok(FieldArgument::From(name, source)) => format!("{name} from {}", source.name()),
        Ok(FieldArgument::Prompt(name)) => format!("{name} prompt"),
        Ok(FieldArgument::Map(source)) => format!("map {}", source.name()),
        Err(failure) => format!("refused: {}", failure.what),
    }
}

#[test]
fn each_form_of_a_field_is_understood() {
    for (text, expected) in [
        ("user=app", "user literal app"),
        ("user=", "user literal "),
        ("dsn=a=b=c", "dsn literal a=b=c"),
        ("key=@/etc/key", "key from /etc/key"),
        ("key=@-", "key from -"),
        ("key=-", "key from standard input"),
        ("key=--", "key literal --"),
        ("handle=\\@ada", "handle literal @ada"),
        ("dash=\\-", "dash literal -"),
        ("back=\\x", "back literal \\x"),
        ("password", "password prompt"),
        ("@all.json", "map all.json"),
        ("-", "map standard input"),
        ("=x", "refused: a field has no name"),
        ("", "refused: a field has no name"),
        ("key=@", "refused: field 'key': a file's name is missing after @"),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn a_name_may_have_255_bytes_and_not_256() {
    assert!(parsed(&format!("{}=x", "n".repeat(FIELD_NAME_BYTES_MAX))).contains("literal"));
    assert!(parsed(&format!("{}=x", "n".repeat(FIELD_NAME_BYTES_MAX + 1))).starts_with("refused"));
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn refusal(arguments: &[&str]) -> String {
    Input::default().fields(&strings(arguments)).err().unwrap().what
}

#[test]
fn a_field_given_twice_is_refused() {
    assert_eq!(refusal(&["a=1", "b=2", "a=3"]), "field 'a' is given twice");
}

#[test]
fn standard_input_serves_one_field() {
    let input = Input::default();
    input.stdin_taken.store(true, Ordering::Relaxed);
    let failure = input.fields(&strings(&["a=-"])).err().unwrap();
    assert_eq!(failure.what, "standard input can be given for one value only");
}

#[test]
fn a_secret_may_fill_the_limits_and_not_exceed_them() {
    let file = |bytes: usize| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![0; bytes]).unwrap();
        file
    };
    let fits = file(SECRET_BYTES_MAX - 1);
    let arguments = strings(&[&format!("k=@{}", fits.path().display())]);
    assert_eq!(Input::default().fields(&arguments).ok().unwrap().entries.len(), 1);
    let exceeds = file(SECRET_BYTES_MAX);
    assert!(refusal(&[&format!("k=@{}", exceeds.path().display())]).contains("at most 1048576 bytes"));
    let longer = file(SECRET_BYTES_MAX + 1);
    assert!(refusal(&[&format!("k=@{}", longer.path().display())]).contains("longer than 1048576 bytes"));

    let many: Vec<String> = (0..=FIELDS_MAX).map(|number| format!("f{number}=")).collect();
    assert!(Input::default().fields(many.get(..FIELDS_MAX).unwrap()).is_ok());
    assert!(Input::default().fields(&many).is_err());
}

fn map(text: &str) -> Result<Vec<(String, String)>> {
    let fields = parse_map(&SecretString::copied_from(text), "f.json")?;
    Ok(fields.into_iter().map(|(name, value)| (name, String::from_utf8(value.expose().to_vec()).unwrap())).collect())
}

#[test]
fn a_json_object_gives_fields_as_they_are_written() {
    let fields = map(r#" {"user": "ap\"p\n", "port": 5432, "rate": 0.10, "big": 1e400, "on": true, "": "x"} "#).unwrap();
    let expected = [("user", "ap\"p\n"), ("port", "5432"), ("rate", "0.10"), ("big", "1e400"), ("on", "true"), ("", "x")];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn json_that_is_not_a_map_of_text_is_refused_without_showing_it() {
    for text in [
        "",
        "[]",
        "\"canary\"",
        "{\"a\": \"canary\"",
        "{\"a\": \"canary\"} x",
        "canary",
        "{\"a\": canary}",
        "{\"a\": \"\u{1}canary\"}",
    ] {
        let failure = map(text).unwrap_err();
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
    }
    for text in [r#"{"a": null}"#, r#"{"a": {}}"#, r#"{"a": []}"#, r#"{"a": "1", "a": "2"}"#] {
        assert!(map(text).unwrap_err().what.contains("field 'a'"), "{text}");
    }
}

fn line(content: &[u8]) -> Result<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    Input::default().line(&Source::File(file.path().into()), 8).map(|line| line.expose().to_owned())
}

#[test]
fn a_password_is_one_line_without_its_end() {
    for content in [&b"pass word"[..9 - 1], b"secret", b"secret\n", b"secret\r\n", b" secret "] {
        let expected = std::str::from_utf8(content).unwrap().trim_end_matches(['\n', '\r']);
        assert_eq!(line(content).unwrap(), expected);
    }
    assert_eq!(line(b"12345678\r\n").unwrap(), "12345678");
    for content in [&b""[..], b"\n", b"a\nb", b"a\n\n", b"123456789", b"12345678901", b"\xff"] {
        assert!(line(content).is_err(), "{content:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = Input::default().bytes(&Source::File("/nonexistent/x".into()), 8).unwrap_err();
    assert_eq!(missing.what, "cannot read /nonexistent/x: no such file or directory");
    let folder = Input::default().bytes(&Source::File("/".into()), 8).unwrap_err();
    assert_eq!(folder.what, "cannot read /: it is a folder");
}

#[test]
fn a_share_on_the_command_line_is_not_taken_for_a_file() {
    for text in ["coffer-share-abc", "", "@"] {
        assert!(Source::marked(text).is_err(), "{text}");
    }
    assert_eq!(Source::marked("-"), Ok(Source::Stdin));
    assert_eq!(Source::of_file("@x"), Source::File("x".into()));
    assert_eq!(Source::of_file("x"), Source::File("x".into()));
}
