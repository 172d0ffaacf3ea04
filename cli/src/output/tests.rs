use jiff::Timestamp;
use prost_types::Timestamp as Sent;

use super::*;
use crate::exit::Exit;

fn view(width: Option<u16>) -> View {
    View { now: Timestamp::from_second(1_800_000_000).unwrap(), width }
}

fn sent(seconds: i64) -> Sent {
    Sent { seconds, nanos: 0 }
}

/// What a terminal without colours shows.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_table_has_headings_in_bold_and_columns_two_spaces_apart() {
    let mut table = Table::new(&["NAME", "ROLES", "AGE"]);
    table.row(["alice".into(), "admin,officer".into(), "5m".into()]);
    table.row(["bo".into(), String::new(), "10d".into()]);
    let text = table.render(&view(None), "none");
    assert!(text.starts_with("\u{1b}[1mNAME"), "{text:?}");
    assert_eq!(plain(&text), "NAME   ROLES          AGE\nalice  admin,officer  5m\nbo     -              10d\n");
}

#[test]
fn a_table_without_rows_says_so() {
    assert_eq!(Table::new(&["NAME"]).render(&view(None), "no users"), "no users");
}

#[test]
fn prose_is_broken_to_fit_the_terminal_and_names_are_not() {
    let (name, prose) = ("n".repeat(20), "word ".repeat(40));
    let table = || {
        let mut table = Table::new(&["NAME", "TEXT"]);
        table.row([name.clone(), prose.clone()]);
        table
    };
    let fitted = plain(&table().prose("TEXT").render(&view(Some(40)), ""));
    assert!(fitted.lines().all(|line| line.chars().count() <= 40), "{fitted}");
    assert!(fitted.contains(&name), "{fitted}");
    let whole = plain(&table().render(&view(Some(40)), ""));
    assert_eq!(whole.lines().count(), 2, "{whole}");
}

#[test]
fn no_cell_can_steer_the_terminal() {
    let mut table = Table::new(&["NAME"]);
    table.row(["a\u{1b}[31mb\u{202e}c\rd\u{7}".into()]);
    assert_eq!(plain(&table.render(&view(None), "")), "NAME\na\\u{1b}[31mb\\u{202e}c\\u{d}d\\u{7}\n");
}

#[test]
fn ages_have_at_most_two_units() {
    for (seconds, expected) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (7_199, "119m"),
        (7_200, "2h"),
        (11_520, "3h12m"),
        (172_799, "47h59m"),
        (172_800, "2d"),
        (187_200, "2d4h"),
        (864_000, "10d"),
        (34_560_000, "400d"),
    ] {
        assert_eq!(age(seconds), expected);
    }
}

#[test]
fn times_are_ages_for_people_and_rfc_3339_for_scripts() {
    let now = 1_800_000_000;
    assert_eq!(since(Some(&sent(now - 60)), &view(None)), "60s");
    assert_eq!(since(Some(&sent(now + 60)), &view(None)), "0s");
    assert_eq!(until(Some(&sent(now + 3_600)), &view(None)), "60m");
    assert_eq!(until(Some(&sent(now)), &view(None)), "ended");
    assert_eq!(since(None, &view(None)) + &until(None, &view(None)), "");
    assert_eq!(rfc3339(Some(&sent(now))).as_deref(), Some("2027-01-15T08:00:00.000Z"));
    assert_eq!(rfc3339(Some(&sent(i64::MAX))), None);
}

fn denied() -> Failure {
    Failure {
        exit: Exit::Denied,
        what: "cannot read kv/x: not there, or not permitted".into(),
        why: Some("both look the same".into()),
        next: Some("coffer why read kv/x".into()),
        reason: Some("NOT_FOUND_OR_DENIED".into()),
        request_id: Some("r-1".into()),
        retryable: false,
    }
}

#[test]
fn a_failure_is_told_in_three_lines() {
    assert_eq!(
        plain(&failure_text(&denied())),
        "error: cannot read kv/x: not there, or not permitted (request r-1)\n\
         why:   both look the same\n\
         next:  coffer why read kv/x\n"
    );
}

#[test]
fn a_failure_is_one_json_object_for_scripts() {
    let json = failure_value(&denied());
    let error = json.get("error").unwrap();
    assert_eq!(error.get("exit_code").unwrap(), 3);
    assert_eq!(error.get("reason").unwrap(), "NOT_FOUND_OR_DENIED");
    assert_eq!(error.get("request_id").unwrap(), "r-1");
    assert_eq!(error.get("retryable").unwrap(), false);
}

#[test]
fn text_on_one_line_has_no_line_end() {
    assert_eq!(one_line("a\nb\tc\r"), "a\\nb\\tc\\r");
    assert!(is_printable("a\nb\tc") && !is_printable("a\u{1b}b"));
}

/// What YAML would take for something else, were it not quoted.
#[test]
fn yaml_gives_every_text_back() {
    for text in [
        "",
        " ",
        "yes",
        "no",
        "null",
        "~",
        "0123",
        "0x1f",
        "1e3",
        "1_000",
        ".5",
        "- a",
        "a: b",
        "a #b",
        "#",
        "&a",
        "*a",
        "!x",
        "%x",
        "@x",
        "`x`",
        "'",
        "\"",
        "a\nb",
        "a\n",
        "\n",
        "a\r\nb",
        "\ttab",
        "trailing ",
        "{}",
        "[]",
        "? x",
        "|",
        ">",
        "2026-11-25",
        "\u{1b}[31m",
        "\u{feff}",
        "<<",
        "=",
        "---",
        "...",
        "\u{2028}",
        "pass: \"w\\ord'",
    ] {
        let written = serde_saphyr::to_string(&std::collections::BTreeMap::from([(text, text)])).unwrap();
        let read: std::collections::BTreeMap<String, serde_json::Value> =
            serde_saphyr::from_str(&written).unwrap_or_else(|error| panic!("{text:?}: {error}: {written}"));
        assert_eq!(read.get(text).unwrap(), text, "{written}");
    }
}
