use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Path, PathError> {
    text.parse()
}

fn path(text: &str) -> Path {
    parse(text).unwrap()
}

/// A path of this many bytes, in segments of at most 99.
fn long(bytes: usize) -> String {
    let mut text = format!("{}/", "a".repeat(99)).repeat(bytes / 100 + 1);
    text.truncate(bytes);
    text
}

#[test]
fn every_form_that_breaks_a_rule_is_refused_with_that_rule() {
    use PathError::{
        Control, DotSegment, Empty, EmptySegment, NotNormalised, SegmentTooLong, SpaceAtEnd, TooLong, TooManySegments, Wildcard,
    };
    let table = [
        ("", Empty),
        // Empty segments.
        ("/", EmptySegment),
        ("/kv", EmptySegment),
        ("kv/", EmptySegment),
        ("kv//a", EmptySegment),
        ("//", EmptySegment),
        // Dots.
        (".", DotSegment),
        ("..", DotSegment),
        ("kv/.", DotSegment),
        ("kv/../a", DotSegment),
        ("./kv", DotSegment),
        // White space at an end of a segment, of any kind.
        (" kv", SpaceAtEnd),
        ("kv ", SpaceAtEnd),
        ("kv/ a", SpaceAtEnd),
        ("kv/a /b", SpaceAtEnd),
        ("kv/ ", SpaceAtEnd),
        ("kv/\u{a0}a", SpaceAtEnd),
        ("kv/a\u{3000}", SpaceAtEnd),
        ("kv/a\n", SpaceAtEnd),
        ("kv/.. ", SpaceAtEnd),
        // Control characters.
        ("kv/a\0b", Control),
        ("kv/a\tb", Control),
        ("kv/a\nb", Control),
        ("kv/a\rb", Control),
        ("kv/\u{1b}[2J", Control),
        ("kv/a\u{7f}", Control),
        ("kv/a\u{9f}b", Control),
        // Characters that cannot be seen.
        ("kv/a\u{ad}b", Control),
        ("kv/a\u{200b}b", Control),
        ("kv/a\u{200d}b", Control),
        ("kv/\u{202e}a", Control),
        ("kv/a\u{2066}b", Control),
        ("kv/\u{feff}a", Control),
        ("kv/a\u{fe0f}", Control),
        ("kv/\u{e0061}", Control),
        ("kv/a\u{2028}b", Control),
        // Other normalisation forms than C.
        ("kv/e\u{301}", NotNormalised),
        ("kv/\u{212b}", NotNormalised),
        ("kv/\u{1100}\u{1161}", NotNormalised),
        ("kv/a\u{307}\u{323}", NotNormalised),
        // What only patterns have.
        ("*", Wildcard),
        ("kv/*", Wildcard),
        ("kv/**", Wildcard),
        ("kv/*/a", Wildcard),
    ];
    for (text, error) in table {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    for (text, error) in [
        (long(PATH_BYTES_MAX + 1), TooLong),
        ("a/".repeat(PATH_SEGMENTS_MAX) + "a", TooManySegments),
        ("kv/".to_owned() + &"a".repeat(SEGMENT_BYTES_MAX + 1), SegmentTooLong),
        ("a".repeat(SEGMENT_BYTES_MAX + 1), SegmentTooLong),
        ("kv/".to_owned() + &"\u{e9}".repeat(SEGMENT_BYTES_MAX / 2 + 1), SegmentTooLong),
    ] {
        assert_eq!(parse(&text), Err(error), "{text:?}");
    }
}

#[test]
fn what_is_at_a_limit_is_a_path() {
    for text in [
        "a".to_owned(),
        long(PATH_BYTES_MAX),
        "a/".repeat(PATH_SEGMENTS_MAX - 1) + "a",
        "kv/".to_owned() + &"a".repeat(SEGMENT_BYTES_MAX),
        "kv/".to_owned() + &"\u{e9}".repeat(SEGMENT_BYTES_MAX / 2),
    ] {
        assert_eq!(path(&text).as_str(), text);
    }
    assert_eq!(path(&long(PATH_BYTES_MAX)).as_str().len(), PATH_BYTES_MAX);
}

#[test]
fn what_looks_unusual_and_breaks_no_rule_is_taken_as_it_is() {
    for text in [
        "kv/...",
        "kv/.hidden",
        "kv/a b",
        "kv/caf\u{e9}",
        "kv/\u{1f511}",
        "kv/a*b",
        "kv/***",
        "kv/\\",
        "kv/..\\..",
        "kv/a?b#c",
        "kv/~",
        "kv/'; DROP TABLE",
        "KV/A",
    ] {
        assert_eq!(path(text).as_str(), text);
    }
}

#[test]
fn percent_encoding_is_text_like_any_other() {
    for (text, decoded) in [("kv/%2e%2e", "kv/.."), ("kv/a%2fb", "kv/a/b"), ("kv/%00", "kv/\0"), ("kv/%41", "kv/A")] {
        let path = path(text);
        assert_eq!(path.as_str(), text);
        assert_eq!(path.segments().count(), 2);
        assert!(parse(decoded).map_or(true, |other| other != path), "{text}");
    }
}

#[test]
fn names_that_differ_in_case_or_script_are_different_paths() {
    assert_ne!(path("kv/a"), path("kv/A"));
    assert_ne!(path("kv/a"), path("kv/\u{430}"), "Cyrillic a");
    assert_ne!(path("kv/fi"), path("kv/\u{fb01}"), "NFC keeps ligatures apart");
}

#[test]
fn a_pattern_below_a_folder_is_not_for_the_folder_itself_nor_for_its_namesakes() {
    let pattern: PathPattern = "kv/prod/**".parse().unwrap();
    for (path, matches) in [("kv/prod/a", true), ("kv/prod/a/b", true), ("kv/prod", false), ("kv/production", false)] {
        assert_eq!(pattern.matches(&path.parse().unwrap()), matches, "{path}");
    }
}

#[test]
fn a_pattern_has_stars_at_its_end_only() {
    for (text, expected) in [
        ("kv/**", Ok(PathPattern::Below(path("kv")))),
        ("kv/a", Ok(PathPattern::Exact(path("kv/a")))),
        ("**", Err(PathError::Wildcard)),
        ("/**", Err(PathError::Empty)),
        ("kv/**/**", Err(PathError::Wildcard)),
        ("kv/**/a", Err(PathError::Wildcard)),
        ("kv/*", Err(PathError::Wildcard)),
        ("kv//**", Err(PathError::EmptySegment)),
        ("kv/../**", Err(PathError::DotSegment)),
    ] {
        assert_eq!(text.parse::<PathPattern>(), expected, "{text}");
    }
}

#[test]
fn a_path_knows_its_parents() {
    let path: Path = "kv/prod/payments".parse().unwrap();
    assert_eq!(path.and_parents().collect::<Vec<_>>(), ["kv/prod/payments", "kv/prod", "kv"]);
    assert_eq!(path.parent().unwrap().as_str(), "kv/prod");
    assert_eq!(path.mount(), "kv");
}

#[test]
fn a_stored_path_is_checked_again_when_it_is_read() {
    let stored = |text: &str| serde_json::from_str::<Path>(&serde_json::to_string(text).unwrap());
    assert_eq!(stored("kv/a").unwrap(), path("kv/a"));
    assert_eq!(serde_json::to_string(&path("kv/a")).unwrap(), "\"kv/a\"");
    for text in ["kv/..", "", "kv/**", "kv/e\u{301}"] {
        assert!(stored(text).is_err(), "{text}");
    }
    assert_eq!(serde_json::from_str::<PathPattern>("\"kv/**\"").unwrap(), "kv/**".parse().unwrap());
}

/// Text that is close to a path: good and bad characters, slashes everywhere.
fn nearly_a_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z0-9_-]{1,4}",
        3 => Just("/".to_owned()),
        1 => proptest::sample::select(vec![".", "..", " ", "*", "%2e", "\u{301}", "\u{e9}", "\u{200b}", "\0", "\u{ac00}", "\u{11a8}"])
            .prop_map(ToOwned::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Good paths over few names, so that they are often within each other or namesakes.
fn some_path() -> impl Strategy<Value = Path> {
    let name = proptest::sample::select(vec!["a", "ab", "abc", "a b", "\u{e9}", "kv"]);
    proptest::collection::vec(name, 1..6).prop_map(|names| path(&names.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn what_parses_is_printed_byte_for_byte_and_parses_again(text in nearly_a_path()) {
        if let Ok(path) = parse(&text) {
            prop_assert_eq!(path.as_str(), &text);
            prop_assert_eq!(&path.to_string(), &text);
            prop_assert_eq!(parse(&path.to_string()), Ok(path.clone()));
            prop_assert_eq!(path.segments().collect::<Vec<_>>().join("/"), text);
        }
    }

    #[test]
    fn what_parses_keeps_every_rule(text in nearly_a_path()) {
        if let Ok(path) = parse(&text) {
            use unicode_normalization::UnicodeNormalization;
            prop_assert_eq!(text.nfc().collect::<String>(), text);
            prop_assert!(path.segments().count() <= PATH_SEGMENTS_MAX && path.as_str().len() <= PATH_BYTES_MAX);
            for segment in path.segments() {
                prop_assert!(!matches!(segment, "" | "." | ".." | "*" | "**"));
                prop_assert_eq!(segment.trim(), segment);
                prop_assert!(segment.len() <= SEGMENT_BYTES_MAX && !segment.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn arbitrary_text_is_a_path_where_it_is_a_pattern_for_one(text in any::<String>()) {
        let pattern = text.parse::<PathPattern>();
        prop_assert_eq!(parse(&text).is_ok(), matches!(pattern, Ok(PathPattern::Exact(_))));
    }

    #[test]
    fn parents_of_a_path_are_the_paths_that_it_is_within(path in some_path(), other in some_path()) {
        let parents: Vec<Path> = path.and_parents().map(|parent| parent.parse().unwrap()).collect();
        prop_assert_eq!(path.is_within(&other), parents.contains(&other));
        let by_parent: Vec<Path> = std::iter::successors(Some(path.clone()), Path::parent).collect();
        prop_assert_eq!(&parents, &by_parent);
        prop_assert_eq!(parents.len(), path.segments().count());
        prop_assert_eq!(parents.last().unwrap().as_str(), path.mount());
        prop_assert_eq!(path.below_mount().count() + 1, path.segments().count());
    }

    #[test]
    fn a_path_is_within_another_where_its_segments_begin_with_the_others(path in some_path(), other in some_path()) {
        let (mine, theirs): (Vec<_>, Vec<_>) = (path.segments().collect(), other.segments().collect());
        prop_assert_eq!(path.is_within(&other), mine.starts_with(&theirs));
    }

    #[test]
    fn patterns_agree_with_is_within_and_read_what_they_write(path in some_path(), base in some_path()) {
        let (exact, below) = (PathPattern::Exact(base.clone()), PathPattern::Below(base.clone()));
        prop_assert_eq!(exact.matches(&path), path == base);
        prop_assert_eq!(below.matches(&path), path != base && path.is_within(&base));
        for pattern in [exact, below] {
            prop_assert_eq!(pattern.to_string().parse::<PathPattern>(), Ok(pattern));
        }
    }
}
