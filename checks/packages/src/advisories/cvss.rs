//! The base score of CVSS 3.0 and 3.1 (first.org/cvss/v3.1/specification-document, 7.1).

use coffer_checks::Severity;

/// How bad a vector says that it is; none where it is no vector of version 3, or says that nothing is lost.
pub(super) fn severity(vector: &str) -> Option<Severity> {
    Some(match score(vector)? {
        score if score >= 9.0 => Severity::Critical,
        score if score >= 7.0 => Severity::High,
        score if score >= 4.0 => Severity::Medium,
        score if score > 0.0 => Severity::Low,
        _ => return None,
    })
}

fn score(vector: &str) -> Option<f64> {
    let metrics = vector.strip_prefix("CVSS:3.0/").or_else(|| vector.strip_prefix("CVSS:3.1/"))?;
    let value = |name: &str| {
        metrics.split('/').find_map(|metric| metric.split_once(':').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    };
    let weight = |name: &str, weights: &[(&str, f64)]| {
        let value = value(name)?;
        weights.iter().find(|(word, _)| *word == value).map(|(_, weight)| *weight)
    };
    let is_changed = match value("S")? {
        "U" => false,
        "C" => true,
        _ => return None,
    };
    let privileges: &[(&str, f64)] =
        if is_changed { &[("N", 0.85), ("L", 0.68), ("H", 0.5)] } else { &[("N", 0.85), ("L", 0.62), ("H", 0.27)] };
    let exploitability = 8.22
        * weight("AV", &[("N", 0.85), ("A", 0.62), ("L", 0.55), ("P", 0.2)])?
        * weight("AC", &[("L", 0.77), ("H", 0.44)])?
        * weight("PR", privileges)?
        * weight("UI", &[("N", 0.85), ("R", 0.62)])?;
    let lost = |name| weight(name, &[("H", 0.56), ("L", 0.22), ("N", 0.0)]);
    let base = 1.0 - (1.0 - lost("C")?) * (1.0 - lost("I")?) * (1.0 - lost("A")?);
    let impact = if is_changed { 7.52 * (base - 0.029) - 3.25 * (base - 0.02_f64).powi(15) } else { 6.42 * base };
    Some(match (impact <= 0.0, is_changed) {
        (true, _) => 0.0,
        (false, false) => rounded_up((impact + exploitability).min(10.0)),
        (false, true) => rounded_up((1.08 * (impact + exploitability)).min(10.0)),
    })
}

/// To one digit, upwards, as the specification does it so that all come to the same.
fn rounded_up(score: f64) -> f64 {
    let exact = (score * 100_000.0).round();
    if exact % 10_000.0 == 0.0 { exact / 100_000.0 } else { ((exact / 10_000.0).floor() + 1.0) / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_specification() {
        for (vector, expected) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
            ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H/E:P", 7.8),
            ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.6),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ] {
            assert_eq!(score(vector), Some(expected), "{vector}");
        }
        for wrong in
            ["", "CVSS:4.0/AV:N", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H", "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"]
        {
            assert_eq!(score(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn scores_become_words() {
        let of = |end: &str| severity(&format!("CVSS:3.1/{end}"));
        assert_eq!(of("AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), Some(Severity::Critical));
        assert_eq!(of("AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"), Some(Severity::High));
        assert_eq!(of("AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N"), Some(Severity::Medium));
        assert_eq!(of("AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"), Some(Severity::Low));
        assert_eq!(of("AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"), None);
    }
}
