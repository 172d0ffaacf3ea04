//! Text that is safe to show on a terminal.

/// Whether a text holds nothing that a terminal would obey: line ends and tabs are fine.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(obeyed)
}

/// The text with everything that a terminal would obey written as an escape.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The text on one line, with line ends and tabs written as escapes too.
#[must_use]
pub fn one_line(text: &str) -> String {
    printable(&text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

/// Control characters, and those that turn the direction of text.
fn obeyed(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
