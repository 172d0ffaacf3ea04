//! Paths and patterns: what is taken is canonical, and what is taken apart can be put together again.

use coffer_core::{
    limits::{PATH_BYTES_MAX, PATH_SEGMENTS_MAX, SEGMENT_BYTES_MAX},
    path::{Path, PathPattern},
};

pub(crate) const WORDS: &[&str] = &[
    "/", "//", ".", "..", "*", "**", "/**", "kv", " ", "%2f", "%2e", "\u{e9}", "e\u{301}", "\u{200b}", "\u{2f}", "\0", "\n", "\\",
];

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(path) = text.parse::<Path>() {
        is_canonical(text, &path);
    }
    if let Ok(pattern) = text.parse::<PathPattern>() {
        assert_eq!(pattern.to_string(), text, "a pattern is written as it was read");
        assert_eq!(pattern.to_string().parse::<PathPattern>().as_ref(), Ok(&pattern));
        let base = pattern.base();
        assert_eq!(pattern.matches(base), matches!(pattern, PathPattern::Exact(_)), "only an exact one is for its own path");
        if let Ok(below) = format!("{base}/x").parse::<Path>() {
            assert_eq!(pattern.matches(&below), matches!(pattern, PathPattern::Below(_)));
        }
        if let Ok(beside) = format!("{base}x").parse::<Path>() {
            assert!(!pattern.matches(&beside), "what only begins with the same letters lies elsewhere");
        }
    }
}

fn is_canonical(text: &str, path: &Path) {
    assert_eq!(path.as_str(), text, "nothing is repaired");
    assert!((1..=PATH_BYTES_MAX).contains(&text.len()));
    let segments: Vec<_> = path.segments().collect();
    assert!((1..=PATH_SEGMENTS_MAX).contains(&segments.len()));
    assert_eq!(segments.join("/"), text);
    for segment in &segments {
        assert!((1..=SEGMENT_BYTES_MAX).contains(&segment.len()));
        assert!(!matches!(*segment, "." | ".." | "*" | "**"));
        assert!(!segment.chars().any(char::is_control));
    }
    assert_eq!(Some(path.mount()), segments.first().copied());
    let above: Vec<_> = path.and_parents().collect();
    assert_eq!(above.len(), segments.len());
    for parent in above {
        let parent: Path = parent.parse().expect("what is above a path is one");
        assert!(path.is_within(&parent));
        assert_eq!(parent.is_within(path), parent == *path);
    }
}
