//! Until when distributions mend what is found in their releases.

use coffer_checks::Day;

use crate::Distribution;

/// The day on which the table below was last compared with what the distributions say.
pub const SUPPORT_TABLE_DAY: &str = "2026-03-01";

/// Releases, and the last day on which their security updates are for everybody: of Debian with its long-term support.
const UNTIL: &[(&str, &str, &str)] = &[
    ("alpine", "3.12", "2022-05-01"),
    ("alpine", "3.13", "2022-11-01"),
    ("alpine", "3.14", "2023-05-01"),
    ("alpine", "3.15", "2023-11-01"),
    ("alpine", "3.16", "2024-05-23"),
    ("alpine", "3.17", "2024-11-22"),
    ("alpine", "3.18", "2025-05-09"),
    ("alpine", "3.19", "2025-11-01"),
    ("alpine", "3.20", "2026-04-01"),
    ("alpine", "3.21", "2026-11-01"),
    ("alpine", "3.22", "2027-05-01"),
    ("alpine", "3.23", "2027-11-01"),
    ("debian", "7", "2018-05-31"),
    ("debian", "8", "2020-06-30"),
    ("debian", "9", "2022-06-30"),
    ("debian", "10", "2024-06-30"),
    ("debian", "11", "2026-08-31"),
    ("debian", "12", "2028-06-30"),
    ("debian", "13", "2030-06-30"),
    ("ubuntu", "14.04", "2019-04-25"),
    ("ubuntu", "16.04", "2021-04-30"),
    ("ubuntu", "18.04", "2023-05-31"),
    ("ubuntu", "20.04", "2025-05-31"),
    ("ubuntu", "22.04", "2027-06-01"),
    ("ubuntu", "22.10", "2023-07-20"),
    ("ubuntu", "23.04", "2024-01-25"),
    ("ubuntu", "23.10", "2024-07-11"),
    ("ubuntu", "24.04", "2029-05-31"),
    ("ubuntu", "24.10", "2025-07-10"),
    ("ubuntu", "25.04", "2026-01-15"),
    ("ubuntu", "25.10", "2026-07-09"),
];

impl Distribution {
    /// The last day on which everybody gets security updates; none where that is not known here.
    #[must_use]
    pub fn supported_until(&self) -> Option<Day> {
        let row = UNTIL.iter().find(|(id, version, _)| *id == self.id && *version == self.version)?;
        row.2.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_day() {
        for (id, version, until) in UNTIL {
            let distribution = Distribution { id: (*id).into(), version: (*version).into() };
            assert_eq!(distribution.supported_until().map(|day| day.to_string()).as_deref(), Some(*until), "{distribution}");
        }
        assert!(SUPPORT_TABLE_DAY.parse::<Day>().is_ok());
        assert_eq!(Distribution { id: "debian".into(), version: String::new() }.supported_until(), None);
    }
}
