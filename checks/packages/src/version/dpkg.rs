//! `[EPOCH:]UPSTREAM[-REVISION]` (Debian Policy, 5.6.12).

use std::cmp::Ordering;

use super::by_number;

pub(super) fn compare(one: &str, other: &str) -> Option<Ordering> {
    let ((epoch, upstream, revision), (other_epoch, other_upstream, other_revision)) = (parts(one)?, parts(other)?);
    let order = by_number(epoch, other_epoch)
        .then_with(|| by_part(upstream.as_bytes(), other_upstream.as_bytes()))
        .then_with(|| by_part(revision.as_bytes(), other_revision.as_bytes()));
    Some(order)
}

fn parts(version: &str) -> Option<(&str, &str, &str)> {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    let is_epoch = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit());
    (is_epoch && !upstream.is_empty()).then_some((epoch, upstream, revision))
}

/// By turns what are no digits, and numbers.
fn by_part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    loop {
        let (words, other_words) =
            (taken(&mut one, |byte| !byte.is_ascii_digit()), taken(&mut other, |byte| !byte.is_ascii_digit()));
        // Where a word ends it is as if a zero stood there: behind `~`, and before letters and all else.
        let longest = words.len().max(other_words.len());
        for at in 0..longest {
            let order = weight(words.get(at)).cmp(&weight(other_words.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let number = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let (numbers, other_numbers) = (taken(&mut one, u8::is_ascii_digit), taken(&mut other, u8::is_ascii_digit));
        let order = by_number(number(numbers), number(other_numbers));
        if order.is_ne() || one.is_empty() && other.is_empty() {
            return order;
        }
    }
}

fn taken<'a>(bytes: &mut &'a [u8], is: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = bytes.iter().position(|byte| !is(byte)).unwrap_or(bytes.len());
    let (taken, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}
