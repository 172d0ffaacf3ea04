//! Failures that somebody has answered for, until a day.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Finding, Report, Status};

/// Exceptions in a file, at most.
pub const EXCEPTIONS_MAX: usize = 10_000;
/// The check that fails for what advisories say of packages: an exception of it can be about advisories that are not there yet.
pub const PACKAGES_CHECK: &str = "IMG-25";
/// Bytes of each of an exception's texts, at most.
pub const EXCEPTION_TEXT_BYTES_MAX: usize = 1024;

/// A day of the calendar, in UTC: `2027-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

impl FromStr for Day {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a day is written like 2027-01-31";
        let bytes = text.as_bytes();
        let is_written = bytes.len() == 10
            && bytes.iter().enumerate().all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
        let mut parts = text.split('-');
        let (Some(year), Some(month), Some(day), true) = (parts.next(), parts.next(), parts.next(), is_written) else {
            return Err(WRONG);
        };
        let (year, month, day) =
            (year.parse().map_err(|_| WRONG)?, month.parse().map_err(|_| WRONG)?, day.parse().map_err(|_| WRONG)?);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u8::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return Err("no such month"),
        };
        if day == 0 || day > days { Err("no such day in that month") } else { Ok(Self { year, month, day }) }
    }
}

impl Day {
    /// Days since 1970-01-01, by the Gregorian calendar; none before that.
    #[must_use]
    pub fn number(self) -> Option<u32> {
        let (month, day) = (u32::from(self.month), u32::from(self.day));
        // Years that begin in March, so that the odd day is their last.
        let year = u32::from(self.year).checked_sub(u32::from(month <= 2))?;
        let months = (month + 9) % 12;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (months * 153 + 2) / 5 + day - 1;
        days.checked_sub(719_468)
    }

    /// The day that is so many days after 1970-01-01; none after the year 9999.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        // Eras of 400 years that begin in March.
        let shifted = number.checked_add(719_468)?;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = u16::try_from(year + era * 400 + u32::from(month <= 2)).ok().filter(|year| *year <= 9_999)?;
        Some(Self { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? })
    }
}

impl TryFrom<String> for Day {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A failure that somebody answers for, until a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The check's id, or an advisory's.
    pub check: String,
    /// What it is about: equal to the finding's subject, or with one `*` at its end that stands for any rest. All where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why it is borne with.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The last day on which it holds.
    pub until: Day,
}

/// What is wrong with exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionError(String);

impl fmt::Display for ExceptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExceptionError {}

/// The exceptions of a site: a file with the list `exceptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    /// The exceptions.
    pub exceptions: Vec<Exception>,
}

impl Exceptions {
    /// Sees that each says all that it must.
    ///
    /// # Errors
    /// Where there are more than [`EXCEPTIONS_MAX`], or one of them has an empty or longer text than [`EXCEPTION_TEXT_BYTES_MAX`].
    pub fn validate(&self) -> Result<(), ExceptionError> {
        if self.exceptions.len() > EXCEPTIONS_MAX {
            return Err(ExceptionError(format!("{} exceptions: {EXCEPTIONS_MAX} is the limit", self.exceptions.len())));
        }
        for (number, exception) in self.exceptions.iter().enumerate() {
            let texts = [("check", &exception.check), ("reason", &exception.reason), ("owner", &exception.owner)];
            for (name, text) in texts.into_iter().chain(exception.subject.as_ref().map(|subject| ("subject", subject))) {
                if text.trim().is_empty() {
                    return Err(ExceptionError(format!("exception {}: {name} is empty", number + 1)));
                }
                if text.len() > EXCEPTION_TEXT_BYTES_MAX {
                    let length = text.len();
                    return Err(ExceptionError(format!(
                        "exception {}: {name} has {length} bytes: {EXCEPTION_TEXT_BYTES_MAX} is the limit",
                        number + 1
                    )));
                }
            }
        }
        Ok(())
    }

    /// Marks the failures that an exception is for. Gives the exceptions that ended before `today` and would have been for one.
    pub fn apply<'a>(&'a self, report: &mut Report, today: Day) -> Vec<&'a Exception> {
        let mut ended = Vec::new();
        for finding in report.findings.iter_mut().filter(|finding| finding.status == Status::Fail) {
            for exception in &self.exceptions {
                if !exception.covers(finding) {
                    continue;
                }
                if exception.until < today {
                    ended.push(exception);
                } else {
                    finding.exception = Some(format!("{} ({}, until {})", exception.reason, exception.owner, exception.until));
                }
            }
        }
        ended.dedup();
        ended
    }
}

impl Exception {
    fn covers(&self, finding: &Finding) -> bool {
        (self.check == finding.check.id || finding.advisory.contains(&self.check))
            && self.subject.as_ref().is_none_or(|subject| is_about(subject, &finding.subject))
    }
}

/// Whether an exception of this subject is about what a finding is about: equal, or with one `*` at its end that stands for any rest.
#[must_use]
pub fn is_about(subject: &str, found: &str) -> bool {
    subject.strip_suffix('*').map_or(subject == found, |start| found.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Judgement, Severity, finding::tests::SWAP};

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn exception(subject: Option<&str>, until: &str) -> Exception {
        Exception {
            check: "TST-01".into(),
            subject: subject.map(Into::into),
            reason: "old disk".into(),
            owner: "ops".into(),
            until: day(until),
        }
    }

    fn report() -> Report {
        let about = |subject: &str, judgement| Finding::about(&SWAP, subject, judgement);
        Report::new(
            "host",
            vec![about("disk/a", Judgement::fail("x")), about("disk/b", Judgement::fail("y")), about("c", Judgement::pass("z"))],
        )
    }

    fn excepted(exceptions: Vec<Exception>, today: &str) -> (Vec<String>, usize) {
        let (exceptions, mut report) = (Exceptions { exceptions }, report());
        let ended = exceptions.apply(&mut report, day(today)).len();
        let subjects =
            report.findings.iter().filter(|finding| finding.exception.is_some()).map(|finding| finding.subject.clone());
        (subjects.collect(), ended)
    }

    #[test]
    fn an_exception_is_for_what_it_names_and_for_failures_alone() {
        assert_eq!(excepted(vec![exception(Some("disk/a"), "2027-01-31")], "2027-01-31"), (vec!["disk/a".into()], 0));
        assert_eq!(
            excepted(vec![exception(Some("disk/*"), "2027-01-31")], "2026-01-01"),
            (vec!["disk/a".into(), "disk/b".into()], 0)
        );
        assert_eq!(excepted(vec![exception(None, "2027-01-31")], "2026-01-01"), (vec!["disk/a".into(), "disk/b".into()], 0));
        assert_eq!(excepted(vec![exception(Some("disk"), "2027-01-31")], "2026-01-01"), (vec![], 0));
    }

    #[test]
    fn an_exception_can_name_an_advisory() {
        let mut report = report();
        let finding = report.findings.first_mut().unwrap();
        finding.advisory = vec!["CVE-2026-1".into(), "RUSTSEC-2026-0001".into()];
        let exception = |check: &str| Exception { check: check.into(), ..exception(None, "2027-01-31") };
        for (check, covered) in [("RUSTSEC-2026-0001", 1), ("CVE-2026-1", 1), ("CVE-2026-2", 0)] {
            let mut report = report.clone();
            Exceptions { exceptions: vec![exception(check)] }.apply(&mut report, day("2026-12-01"));
            assert_eq!(report.findings.iter().filter(|finding| finding.exception.is_some()).count(), covered, "{check}");
        }
    }

    #[test]
    fn an_exception_holds_through_its_last_day_and_is_told_of_after_it() {
        assert_eq!(excepted(vec![exception(Some("disk/a"), "2027-01-31")], "2027-02-01"), (vec![], 1));
    }

    #[test]
    fn what_is_excepted_does_not_make_a_report_worse() {
        let mut report = report();
        assert_eq!(report.worst(), Some(Severity::High));
        Exceptions { exceptions: vec![exception(None, "2027-01-31")] }.apply(&mut report, day("2026-12-01"));
        assert_eq!((report.worst(), report.count(Status::Fail)), (None, 2));
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for wrong in
            ["2027-02-29", "2027-13-01", "2027-00-01", "2027-01-00", "2027-1-1", "27-01-01", "2027-01-01x", "+027-01-01", ""]
        {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
        assert_eq!(day("2028-02-29").to_string(), "2028-02-29");
    }

    #[test]
    fn days_are_numbered() {
        for (text, number) in [
            ("1970-01-01", Some(0)),
            ("1969-12-31", None),
            ("2000-02-29", Some(11_016)),
            ("2000-03-01", Some(11_017)),
            ("2026-11-29", Some(20_786)),
            ("0000-01-01", None),
            ("9999-12-31", Some(2_932_896)),
        ] {
            assert_eq!(day(text).number(), number, "{text}");
            assert!(number.is_none_or(|number| Day::of_number(number) == Some(day(text))), "{text}");
        }
        assert_eq!(Day::of_number(2_932_897), None);
        assert_eq!(Day::of_number(u32::MAX), None);
    }

    #[test]
    fn exceptions_are_refused_past_their_limits() {
        let many = |count| Exceptions { exceptions: vec![exception(None, "2027-01-31"); count] }.validate();
        assert!(many(EXCEPTIONS_MAX).is_ok());
        assert!(many(EXCEPTIONS_MAX + 1).is_err());
        let long = |bytes| {
            let exception = Exception { reason: "x".repeat(bytes), ..exception(None, "2027-01-31") };
            Exceptions { exceptions: vec![exception] }.validate()
        };
        assert!(long(EXCEPTION_TEXT_BYTES_MAX).is_ok());
        assert!(long(EXCEPTION_TEXT_BYTES_MAX + 1).is_err());
        assert!(long(0).is_err());
    }
}
