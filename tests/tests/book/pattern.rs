//! Whether what was printed is what a page shows.
//!
//! `…` in a line stands for anything, or nothing, on that line; a line that is `…` alone for any number of lines. Spaces in
//! a row count as one, since a column is as wide as what varies in it, and those at a line's end do not count.

const ANYTHING: &str = "…";

/// Whether `printed` is what is `shown`.
pub(crate) fn matches(shown: &str, printed: &str) -> bool {
    aligned(shown, printed).is_some()
}

/// The printed line for each line that is shown, where they match; what a line of `…` alone stands for is left out.
pub(crate) fn aligned(shown: &str, printed: &str) -> Option<Vec<String>> {
    let (shown, printed): (Vec<_>, Vec<_>) = (shown.trim_end().lines().collect(), printed.trim_end().lines().collect());
    let mut lines = lines_aligned(&shown, &printed)?;
    lines.reverse();
    Some(lines)
}

fn plain(line: &str) -> String {
    let mut plain = String::new();
    for c in line.trim_end().chars() {
        if !(c == ' ' && plain.ends_with(' ')) {
            plain.push(c);
        }
    }
    plain
}

/// As [`aligned`], the last line first.
fn lines_aligned(shown: &[&str], printed: &[&str]) -> Option<Vec<String>> {
    let Some((first, rest)) = shown.split_first() else { return printed.is_empty().then(Vec::new) };
    let (rest, line) = if first.trim() == ANYTHING {
        ((0..=printed.len()).find_map(|skipped| lines_aligned(rest, printed.get(skipped..)?))?, first)
    } else {
        let (line, others) = printed.split_first().filter(|(line, _)| line_matches(&plain(first), &plain(line)))?;
        (lines_aligned(rest, others)?, line)
    };
    Some(rest.into_iter().chain([line.trim_end().to_owned()]).collect())
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split(ANYTHING);
    let Some(mut left) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return left.is_empty() };
    for part in parts {
        let Some((_, rest)) = left.split_once(part) else { return false };
        left = rest;
    }
    left.ends_with(last)
}

/// The word that was printed last after a text, which may have `…` in it.
pub(crate) fn word_after<'a>(text: &str, printed: &'a str) -> Option<&'a str> {
    let after = |line: &'a str| text.split(ANYTHING).try_fold(line, |left, part| Some(left.split_once(part)?.1));
    printed.lines().rev().find_map(|line| after(line)?.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_for_what_varies_and_for_nothing_else() {
        for (shown, printed) in [
            ("a\nb\n", "a\nb\n"),
            ("a…b", "a12b"),
            ("a…b", "ab"),
            ("…", ""),
            ("a\n…\nz", "a\nz"),
            ("a\n…\nz", "a\nb\nc\nz"),
            ("a\n…", "a\nb\nc\n"),
            ("ID   NAME", "ID        NAME  "),
            ("…x…y", "1x2x3y"),
        ] {
            assert!(matches(shown, printed), "{shown:?} {printed:?}");
        }
        for (shown, printed) in [
            ("a", "a\nb"),
            ("a\nb", "a"),
            ("a…b", "a1c"),
            ("a…b", "a1b2"),
            ("a…", "b"),
            ("", "a"),
            ("a\n…\nz", "a\nb"),
            ("a b", "ab"),
            ("…ab", "b"),
        ] {
            assert!(!matches(shown, printed), "{shown:?} {printed:?}");
        }
    }

    #[test]
    fn a_word_is_found_by_what_stands_before_it() {
        let printed = "Share 1: a\nShare 2: b\nCredential (60m): c d\nShare 1: e\n";
        assert_eq!(word_after("Share 1: ", printed), Some("e"));
        assert_eq!(word_after("Credential (…): ", printed), Some("c"));
        assert_eq!(word_after("Share 3: ", printed), None);
    }
}
