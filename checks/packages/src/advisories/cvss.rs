//! How bad a vector of CVSS 3.0, 3.1 or 4.0 (first.org/cvss) says that something is.

use coffer_checks::Severity;
use cvss::{Cvss, Severity as Rating, v3};

/// By the base score of version 3, and by the whole score of version 4; none where it is no vector of either, or says that
/// nothing is lost.
pub(super) fn severity(vector: &str) -> Option<Severity> {
    let rating = match vector.parse().ok()? {
        Cvss::CvssV30(vector) | Cvss::CvssV31(vector) if is_whole(&vector) => vector.base_score().severity(),
        Cvss::CvssV40(vector) => vector.score().severity(),
        _ => return None,
    };
    match rating {
        Rating::Critical => Some(Severity::Critical),
        Rating::High => Some(Severity::High),
        Rating::Medium => Some(Severity::Medium),
        Rating::Low => Some(Severity::Low),
        Rating::None => None,
    }
}

/// What a vector leaves out would count as nothing lost.
fn is_whole(vector: &v3::Vector) -> bool {
    let reached = vector.av.is_some() && vector.ac.is_some() && vector.pr.is_some() && vector.ui.is_some() && vector.s.is_some();
    reached && vector.c.is_some() && vector.i.is_some() && vector.a.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_become_words() {
        for (vector, expected) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Some(Severity::Critical)),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Some(Severity::Critical)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", Some(Severity::High)),
            // The base score is 7.8; with what is known of exploits and remedies it would be 6.3.
            ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H/E:U/RL:O/RC:U", Some(Severity::High)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", Some(Severity::Medium)),
            ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", Some(Severity::Low)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", None),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", Some(Severity::Critical)),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:H/SC:N/SI:N/SA:N", Some(Severity::High)),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:H/UI:N/VC:L/VI:L/VA:N/SC:N/SI:N/SA:N", Some(Severity::Medium)),
            ("CVSS:4.0/AV:P/AC:L/AT:N/PR:N/UI:N/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N", Some(Severity::Low)),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", None),
        ] {
            assert_eq!(severity(vector), expected, "{vector}");
        }
    }

    #[test]
    fn what_is_no_whole_vector_says_nothing() {
        for wrong in [
            "",
            "CVSS:4.0/AV:N",
            "CVSS:5.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
            "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
            "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
            "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/A:L",
            "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H",
        ] {
            assert_eq!(severity(wrong), None, "{wrong}");
        }
    }
}
