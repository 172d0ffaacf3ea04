//! Semantic versions 2.0.0, as Go's modules and crates have them; a minor version or a patch that is left out is 0.

use std::cmp::Ordering;

use super::by_number;

pub(super) fn compare(one: &str, other: &str) -> Option<Ordering> {
    let ((numbers, pre), (other_numbers, other_pre)) = (parts(one)?, parts(other)?);
    let by_numbers = numbers.iter().zip(other_numbers).map(|(one, other)| by_number(one, other));
    Some(by_numbers.fold(Ordering::Equal, Ordering::then).then_with(|| by_pre(pre, other_pre)))
}

/// The three numbers, and what comes before the release that they name.
fn parts(version: &str) -> Option<([&str; 3], Option<&str>)> {
    // What is behind a `+` does not count.
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let (release, pre) = version.split_once('-').map_or((version, None), |(release, pre)| (release, Some(pre)));
    let mut numbers = ["0"; 3];
    let mut given = release.split('.');
    for (number, given) in numbers.iter_mut().zip(given.by_ref()) {
        *number = given;
    }
    let is_number = |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_pre = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_good = given.next().is_none() && numbers.iter().all(is_number) && pre.is_none_or(|pre| pre.split('.').all(is_pre));
    is_good.then_some((numbers, pre))
}

fn by_pre(one: Option<&str>, other: Option<&str>) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else {
        // What comes before a release is less than the release.
        return other.is_some().cmp(&one.is_some());
    };
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        let order = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (Some(_), None) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (Some(one), Some(other)) => by_word(one, other),
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn by_word(one: &str, other: &str) -> Ordering {
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    match (is_number(one), is_number(other)) {
        (true, true) => by_number(one, other),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => one.cmp(other),
    }
}
