//! The order of versions, by each ecosystem's own rule.

use std::cmp::Ordering;

use crate::Ecosystem;

mod apk;
mod dpkg;
mod semver;

/// Which of two versions is the later one; none where one of them is no version of its ecosystem, so that nobody can say.
#[must_use]
pub fn compare(ecosystem: Ecosystem, one: &str, other: &str) -> Option<Ordering> {
    match ecosystem {
        Ecosystem::Debian => dpkg::compare(one, other),
        Ecosystem::Alpine => apk::compare(one, other),
        Ecosystem::Go => semver::compare(go(one).as_ref(), go(other).as_ref()),
        Ecosystem::Rust => semver::compare(one, other),
    }
}

/// A version of Go's as a semantic one: modules write `v1.2.3`, the toolchain `go1.21rc2 X:experiment`.
fn go(version: &str) -> std::borrow::Cow<'_, str> {
    let Some(toolchain) = version.strip_prefix("go") else {
        return version.strip_prefix('v').unwrap_or(version).into();
    };
    let toolchain = toolchain.split([' ', '-', '+']).next().unwrap_or_default();
    for word in ["rc", "beta"] {
        if let Some((release, number)) = toolchain.split_once(word) {
            let release = if release.matches('.').count() < 2 { format!("{release}.0") } else { release.to_owned() };
            return format!("{release}-{word}.{number}").into();
        }
    }
    toolchain.into()
}

/// Numbers of any length, without leading zeros.
fn by_number(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each is later than the one before.
    fn rises(ecosystem: Ecosystem, versions: &[&str]) {
        for (number, one) in versions.iter().enumerate() {
            for (later, other) in versions.iter().enumerate() {
                let expected = number.cmp(&later);
                assert_eq!(compare(ecosystem, one, other), Some(expected), "{one} and {other}");
            }
        }
    }

    #[test]
    fn debian_s_versions_are_ordered_as_dpkg_does() {
        rises(
            Ecosystem::Debian,
            &[
                "0~~",
                "0~~a",
                "0~",
                "0",
                "0a",
                "0+",
                "0.1",
                "1.0~rc1-1",
                "1.0-1~deb12u1",
                "1.0-1",
                "1.0-1+b1",
                "1.0-1+deb12u1",
                "1.0-1.1",
                "1.0-2",
                "1.0-10",
                "1.0a-1",
                "1.0+dfsg-1",
                "1.0.1-1",
                "1.0.1-1-1",
                "9",
                "10",
                "1:0.1",
                "10:0",
            ],
        );
        assert_eq!(compare(Ecosystem::Debian, "1.0", "1.0-0"), Some(Ordering::Equal));
        assert_eq!(compare(Ecosystem::Debian, "0:1.0", "1.0"), Some(Ordering::Equal));
        assert_eq!(compare(Ecosystem::Debian, "1.00", "1.0"), Some(Ordering::Equal));
        assert_eq!(compare(Ecosystem::Debian, "x:1", "1"), None);
        assert_eq!(compare(Ecosystem::Debian, "", "1"), None);
    }

    #[test]
    fn alpine_s_versions_are_ordered_as_apk_does() {
        rises(
            Ecosystem::Alpine,
            &[
                "0.9",
                "1.0_alpha",
                "1.0_alpha1",
                "1.0_alpha1-r1",
                "1.0_alpha2",
                "1.0_beta",
                "1.0_pre1",
                "1.0_rc1",
                "1.0_rc1_p1",
                "1.0_rc2",
                "1.0",
                "1.0-r0",
                "1.0-r1",
                "1.0-r10",
                "1.0_git20200101",
                "1.0_p1",
                "1.0_p1-r1",
                "1.0_p2",
                "1.0a",
                "1.0b",
                "1.0.0",
                "1.0.1",
                "1.1",
                "1.10",
                "2",
            ],
        );
        assert_eq!(compare(Ecosystem::Alpine, "1.0", "x"), None);
        assert_eq!(compare(Ecosystem::Alpine, "1.0_what", "1.0"), None);
        assert_eq!(compare(Ecosystem::Alpine, "1.05", "1.1"), Some(Ordering::Less));
        assert_eq!(compare(Ecosystem::Alpine, "1.05", "1.4"), Some(Ordering::Less));
    }

    #[test]
    fn semantic_versions_are_ordered_with_what_comes_before_a_release() {
        let versions = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "99999999999999999999.0.0",
        ];
        rises(Ecosystem::Rust, &versions);
        rises(Ecosystem::Go, &versions.map(|version| format!("v{version}")).each_ref().map(String::as_str));
        rises(
            Ecosystem::Go,
            &[
                "v0.0.0-20190101000000-aaaaaaaaaaaa",
                "v0.0.0-20200101000000-000000000000",
                "v0.0.0",
                "v1.2.2",
                "v1.2.3-0.20200101000000-aaaaaaaaaaaa",
                "v1.2.3",
            ],
        );
        rises(
            Ecosystem::Go,
            &["1.20.7", "1.21.0-0", "go1.21beta1", "go1.21rc2", "go1.21", "go1.21.1 X:nocoverageredesign", "go1.21.2-fips"],
        );
        assert_eq!(compare(Ecosystem::Go, "v2.0.0+incompatible", "2.0.0"), Some(Ordering::Equal));
        for wrong in ["", "(devel)", "1.x", "1.2.3.4", "1..2", "1.0.0-", "1.0.0-a..b", "-1"] {
            assert_eq!(compare(Ecosystem::Rust, wrong, "1.0.0"), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn versions_have_one_order(texts in proptest::array::uniform3("[0-9]{1,2}([.a_~+-](0|1|2|10|rc|p|alpha|r1|b|x)){0,4}")) {
            for ecosystem in Ecosystem::ALL {
                let [a, b, c] = texts.each_ref().map(String::as_str);
                prop_assert_eq!(compare(*ecosystem, a, b), compare(*ecosystem, b, a).map(Ordering::reverse));
                let chain = (compare(*ecosystem, a, b), compare(*ecosystem, b, c), compare(*ecosystem, a, c));
                let (Some(one), Some(other), Some(whole)) = chain else { continue };
                prop_assert!(!(one.is_le() && other.is_le()) || whole.is_le(), "{ecosystem}: {a} {b} {c}");
                prop_assert!(!(one.is_eq() && other.is_eq()) || whole.is_eq(), "{ecosystem}: {a} {b} {c}");
            }
        }
    }
}
