//! A bill of materials in the format of CycloneDX 1.5 (ECMA-424): the same for the same image.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Distribution, Ecosystem, Package, program::modules::DEVEL};

/// What the bill is about.
#[derive(Debug, Clone, Default)]
pub struct Subject<'a> {
    /// The image's name.
    pub name: &'a str,
    /// Its digest, `sha256:…`, where it has one.
    pub digest: Option<&'a str>,
    /// The version of the program that makes the bill.
    pub scanner: &'a str,
    /// What the image is made of.
    pub distribution: Option<&'a Distribution>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bill<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_number: Option<String>,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    tools: Tools<'a>,
    component: Component<'a>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [Component<'a>; 1],
}

#[derive(Serialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Component<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bom_ref: Option<String>,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence<'a>>,
}

#[derive(Serialize)]
struct Evidence<'a> {
    occurrences: Vec<Occurrence<'a>>,
}

#[derive(Serialize)]
struct Occurrence<'a> {
    location: &'a str,
}

/// The bill, as text.
#[must_use]
pub fn bill(subject: &Subject<'_>, packages: &BTreeMap<Package, Vec<String>>) -> String {
    let distribution = subject.distribution;
    let system = distribution.map(|distribution| Component {
        r#type: "operating-system",
        bom_ref: Some(format!("os:{distribution}")),
        name: &distribution.id,
        version: &distribution.version,
        ..Component::default()
    });
    let libraries = packages.iter().map(|(package, places)| {
        let purl = purl(package, distribution);
        Component {
            r#type: "library",
            bom_ref: Some(purl.clone()),
            name: &package.name,
            version: &package.version,
            purl: Some(purl),
            evidence: Some(Evidence { occurrences: places.iter().map(|place| Occurrence { location: place }).collect() }),
        }
    });
    let digest = subject.digest.unwrap_or_default();
    let bill = Bill {
        schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.5",
        serial_number: serial(digest),
        version: 1,
        metadata: Metadata {
            tools: Tools {
                components: [Component {
                    r#type: "application",
                    name: "coffer",
                    version: subject.scanner,
                    ..Component::default()
                }],
            },
            component: Component {
                r#type: "container",
                bom_ref: Some("image".to_owned()),
                name: subject.name,
                version: digest,
                ..Component::default()
            },
        },
        components: system.into_iter().chain(libraries).collect(),
    };
    let mut text = serde_json::to_string_pretty(&bill).unwrap_or_default();
    text.push('\n');
    text
}

/// A number that is the image's own: the digest in the form of a UUID (version 8, RFC 9562).
fn serial(digest: &str) -> Option<String> {
    let hex = digest.strip_prefix("sha256:")?;
    let part = |from: usize, length: usize| hex.get(from..from + length);
    Some(format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8)?, part(8, 4)?, part(12, 3)?, part(15, 3)?, part(18, 12)?))
}

/// The package's address (package-url), with what its advisories go by.
#[must_use]
pub fn purl(package: &Package, distribution: Option<&Distribution>) -> String {
    let (kind, vendor) = match package.ecosystem {
        Ecosystem::Debian => ("deb", Some(distribution.map_or("debian", |distribution| distribution.id.as_str()))),
        Ecosystem::Alpine => ("apk", Some(distribution.map_or("alpine", |distribution| distribution.id.as_str()))),
        Ecosystem::Go => ("golang", None),
        Ecosystem::Rust => ("cargo", None),
    };
    let mut purl = format!("pkg:{kind}");
    for part in vendor.into_iter().chain(package.name.split('/')) {
        purl.push('/');
        purl.push_str(&encoded(part));
    }
    // The toolchain says `go1.23.4` where modules say `v1.2.3`.
    let version = match package.ecosystem {
        Ecosystem::Go => package.version.strip_prefix("go").unwrap_or(&package.version),
        _ => &package.version,
    };
    if !version.is_empty() && version != DEVEL {
        purl.push('@');
        purl.push_str(&encoded(version));
    }
    let upstream = package.source.as_ref().map(|source| match source.version == package.version {
        true => source.name.clone(),
        false => format!("{}@{}", source.name, source.version),
    });
    let distro = distribution.filter(|_| vendor.is_some()).map(|distribution| match distribution.version.is_empty() {
        true => distribution.id.clone(),
        false => format!("{}-{}", distribution.id, distribution.version),
    });
    let qualifiers = [("arch", package.architecture.clone()), ("distro", distro), ("upstream", upstream)];
    for (number, (name, value)) in qualifiers.into_iter().filter_map(|(name, value)| Some((name, value?))).enumerate() {
        purl.push_str(&format!("{}{name}={}", if number == 0 { '?' } else { '&' }, encoded(&value)));
    }
    purl
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
        Package::new(ecosystem, name, version).unwrap()
    }

    #[test]
    fn packages_have_addresses() {
        let debian = Distribution { id: "debian".into(), version: "12".into() };
        let alpine = Distribution { id: "alpine".into(), version: "3.20".into() };
        let libssl = Package {
            architecture: Some("amd64".into()),
            source: Some(Source { name: "openssl".into(), version: "3.0.1-1".into() }),
            ..package(Ecosystem::Debian, "libssl3", "1:3.0.1-1+b1")
        };
        for (package, distribution, expected) in [
            (
                libssl,
                Some(&debian),
                "pkg:deb/debian/libssl3@1:3.0.1-1%2Bb1?arch=amd64&distro=debian-12&upstream=openssl%403.0.1-1",
            ),
            (package(Ecosystem::Debian, "base", "1~rc"), None, "pkg:deb/debian/base@1~rc"),
            (package(Ecosystem::Alpine, "musl", "1.2.5-r0"), Some(&alpine), "pkg:apk/alpine/musl@1.2.5-r0?distro=alpine-3.20"),
            (package(Ecosystem::Go, "github.com/a/B", "v1.2.3"), Some(&debian), "pkg:golang/github.com/a/B@v1.2.3"),
            (package(Ecosystem::Go, "stdlib", "go1.23.4"), None, "pkg:golang/stdlib@1.23.4"),
            (package(Ecosystem::Go, "example.com/app", "(devel)"), None, "pkg:golang/example.com/app"),
            (package(Ecosystem::Rust, "serde", "1.0.0+x"), None, "pkg:cargo/serde@1.0.0%2Bx"),
        ] {
            assert_eq!(purl(&package, distribution), expected);
        }
    }

    #[test]
    fn a_bill_is_the_same_for_the_same_image() {
        let debian = Distribution { id: "debian".into(), version: "12".into() };
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let subject = Subject { name: "app", digest: Some(&digest), scanner: "0.1.0", distribution: Some(&debian) };
        let packages = BTreeMap::from([(package(Ecosystem::Rust, "serde", "1.0.0"), vec!["/app".to_owned()])]);
        let text = bill(&subject, &packages);
        assert_eq!(text, bill(&subject, &packages));
        let bill: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(bill["serialNumber"], "urn:uuid:01234567-89ab-8cde-8f01-23456789abcd");
        assert_eq!(bill["metadata"]["component"]["version"], digest.as_str());
        assert_eq!(bill["components"][0]["name"], "debian");
        assert_eq!(
            bill["components"][1],
            serde_json::json!({
                "type": "library", "bom-ref": "pkg:cargo/serde@1.0.0", "name": "serde", "version": "1.0.0",
                "purl": "pkg:cargo/serde@1.0.0", "evidence": { "occurrences": [{ "location": "/app" }] },
            })
        );
    }
}
