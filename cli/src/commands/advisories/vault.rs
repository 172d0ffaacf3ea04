//! Advisories that are about attested images: found here, and told to the vault.

use std::collections::{BTreeMap, BTreeSet};

use coffer_checks::Severity;
use coffer_client::proto::{
    AdvisedImage, AdvisoryMatch, AdvisoryScope, AttestedPackages, ImagePackage, ImportAdvisoriesRequest,
    ListAdvisoryImportsRequest, ListImagePackagesRequest, preview_change_request::Change,
};
use coffer_packages::{Advisories as Known, Match};
use serde::Serialize;

use super::super::would;
use crate::{
    app::{App, Vault, answer},
    dry_run::Planned,
    exit::Exit,
    failure::Result,
    output::{Progress, pairs},
};

/// Names of an advisory beside the one that most people know, at most: the vault takes no more.
const ALIASES_MAX: usize = 16;
/// Bytes of each of them, at most.
const ALIAS_BYTES_MAX: usize = 64;
/// Bytes of a version that mends, at most.
const FIXED_BYTES_MAX: usize = 256;

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Looked {
    /// Verdicts whose images were compared.
    compared: usize,
    /// Verdicts that tell no packages.
    without_packages: usize,
    /// Verdicts that do not tell all of them.
    incomplete: usize,
    /// Verdicts that no advisory makes fail: of scans that were to fail for nothing.
    tolerant: usize,
    /// Ecosystems that images have packages of, and no advisory was named about.
    uncovered: BTreeSet<String>,
}

/// Compares the packages of attested images with advisories.
#[derive(Default)]
struct Matching {
    matches: Vec<AdvisoryMatch>,
    /// Where the matches of a package's version are, those of all severities.
    of_package: BTreeMap<ImagePackageKey, Vec<u32>>,
    images: BTreeMap<String, BTreeSet<u32>>,
    scopes: BTreeSet<String>,
    looked: Looked,
}

type ImagePackageKey = (String, String, String);

impl Matching {
    fn image(&mut self, known: &Known, image: AttestedPackages) {
        let Some(list) = image.packages else {
            self.looked.without_packages += 1;
            return;
        };
        self.looked.compared += 1;
        self.looked.incomplete += usize::from(list.incomplete);
        // What fails anyway needs no advisory, and where none counts, none is told.
        let least = image.fail_on.parse::<Severity>().ok().filter(|_| image.passed);
        self.looked.tolerant += usize::from(image.passed && least.is_none());
        for package in list.packages {
            if !self.scopes.contains(&package.scope) {
                self.scopes.insert(package.scope.clone());
            }
            if least.is_none() {
                continue;
            }
            let places = self.places(known, package);
            let counts = |place: &u32| {
                let found = usize::try_from(*place).ok().and_then(|place| self.matches.get(place));
                found.and_then(|found| found.severity.parse::<Severity>().ok()) >= least
            };
            let counting: Vec<u32> = places.into_iter().filter(counts).collect();
            if !counting.is_empty() {
                self.images.entry(image.manifest.clone()).or_default().extend(counting);
            }
        }
    }

    fn places(&mut self, known: &Known, package: ImagePackage) -> Vec<u32> {
        let key = (package.scope.clone(), package.name.clone(), package.version.clone());
        if let Some(places) = self.of_package.get(&key) {
            return places.clone();
        }
        let found = known.matches_in(&package.scope, &package.name, &package.version);
        let mut places = Vec::new();
        for found in found.iter().filter(|found| found.is_sure) {
            places.push(u32::try_from(self.matches.len()).unwrap_or(u32::MAX));
            self.matches.push(told(package.clone(), found));
        }
        self.of_package.insert(key, places.clone());
        places
    }

    /// What is sent: of ecosystems that images have packages of, or had. Matches that no image has are left out.
    fn request(self, known: &Known, before: BTreeSet<String>, force: bool) -> (ImportAdvisoriesRequest, Looked) {
        let newest = known.newest.map(|day| day.to_string()).unwrap_or_default();
        let wanted = |scope: &&str| self.scopes.contains(*scope) || before.contains(*scope);
        let scopes = known.packages().filter(|(scope, _)| wanted(scope)).map(|(scope, packages)| AdvisoryScope {
            scope: scope.to_owned(),
            newest: newest.clone(),
            packages: packages as u64,
        });
        let scopes: Vec<_> = scopes.collect();
        let uncovered = self.scopes.iter().filter(|scope| !known.covers(scope)).cloned().collect();
        let used: BTreeSet<u32> = self.images.values().flatten().copied().collect();
        let moved: BTreeMap<u32, u32> = used.iter().copied().zip(0..).collect();
        let matches = (0..).zip(self.matches).filter(|(place, _)| used.contains(place)).map(|(_, found)| found).collect();
        let images = self.images.into_iter().map(|(manifest, places)| AdvisedImage {
            manifest,
            matches: places.iter().filter_map(|place| moved.get(place).copied()).collect(),
        });
        let images = images.collect();
        (ImportAdvisoriesRequest { scopes, matches, images, force }, Looked { uncovered, ..self.looked })
    }
}

fn told(package: ImagePackage, found: &Match<'_>) -> AdvisoryMatch {
    let name = found.advisory.name();
    let aliases = found.advisory.names().filter(|other| *other != name && other.len() <= ALIAS_BYTES_MAX);
    AdvisoryMatch {
        package: Some(package),
        advisory: name.to_owned(),
        aliases: aliases.take(ALIASES_MAX).map(str::to_owned).collect(),
        severity: found.advisory.rated().to_string(),
        fixed: found.fixed.filter(|fixed| fixed.len() <= FIXED_BYTES_MAX).unwrap_or_default().to_owned(),
    }
}

/// Asks the vault for the packages of attested images, page by page, and compares them.
pub(super) async fn compared(app: &App, vault: &Vault, known: &Known, force: bool) -> Result<(ImportAdvisoriesRequest, Looked)> {
    let attempt = vault.attempt("list the packages of attested images");
    let mut service = vault.client.advisories();
    let (mut matching, mut page_token, mut progress) = (Matching::default(), String::new(), Progress::new(&app.out));
    loop {
        let page = answer(&attempt, service.list_image_packages(ListImagePackagesRequest { page_token }).await)?.into_inner();
        page.images.into_iter().for_each(|image| matching.image(known, image));
        let compared = matching.looked.compared;
        progress.say(|| format!("{compared} images compared"));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    let imports = answer(&attempt, service.list_advisory_imports(ListAdvisoryImportsRequest {}).await)?.into_inner().imports;
    let before = imports.into_iter().filter_map(|import| Some(import.scope?.scope)).collect();
    Ok(matching.request(known, before, force))
}

fn notes(app: &App, looked: &Looked) {
    if looked.without_packages > 0 {
        let count = looked.without_packages;
        app.out.note(&format!(
            "{count} verdicts tell no packages, and no advisory can be about them: scan and attest those images anew"
        ));
    }
    if looked.incomplete > 0 {
        app.out.note(&format!("{} verdicts do not tell all packages of their images", looked.incomplete));
    }
    if looked.tolerant > 0 {
        app.out
            .note(&format!("{} verdicts fail for no advisory: their images were attested with --fail-on none", looked.tolerant));
    }
    for scope in &looked.uncovered {
        app.out
            .note(&format!("images have packages of {scope}, and none of these advisories is about that: what was known stays"));
    }
}

#[derive(Serialize)]
struct ImportedJson<'a> {
    ecosystems: Vec<&'a str>,
    matches: usize,
    images: usize,
    verdicts_failing: u32,
    pods_passing: u32,
    pods_failing: u32,
    #[serde(flatten)]
    looked: &'a Looked,
}

/// Tells the vault.
pub(super) async fn import(app: &App, vault: &Vault, known: &Known, force: bool) -> Result<Exit> {
    let (request, looked) = compared(app, vault, known, force).await?;
    notes(app, &looked);
    if request.scopes.is_empty() {
        app.out.note("no image with a verdict has packages that these advisories could be about: nothing was sent");
        return Ok(Exit::Done);
    }
    let (scopes, matches, images) = (request.scopes.clone(), request.matches.len(), request.images.len());
    let attempt = vault.attempt("import the advisories");
    let done = answer(&attempt, vault.client.advisories().import_advisories(request).await)?.into_inner();
    let shown = ImportedJson {
        ecosystems: scopes.iter().map(|scope| scope.scope.as_str()).collect(),
        matches,
        images,
        verdicts_failing: done.verdicts_failing,
        pods_passing: done.pods_passing,
        pods_failing: done.pods_failing,
        looked: &looked,
    };
    app.out.result(&shown, |_| {
        pairs(&[
            ("Ecosystems", shown.ecosystems.join(", ")),
            ("Verdicts", format!("{} compared; {} fail now for an advisory", looked.compared, shown.verdicts_failing)),
            ("Advisories", format!("{matches}, in {images} of the images")),
            ("Pods", format!("{} of {} whose images passed do not any more", shown.pods_failing, shown.pods_passing)),
        ])
    })?;
    Ok(Exit::Done)
}

/// Shows which pods it would cut off, and changes nothing.
pub(super) async fn preview(app: &App, vault: &Vault, (request, looked): (ImportAdvisoriesRequest, Looked)) -> Result<Exit> {
    notes(app, &looked);
    if request.scopes.is_empty() {
        app.out.note("no image with a verdict has packages that these advisories could be about");
        return Ok(Exit::Done);
    }
    let preview = would::ask(vault, "look at what the import would take", Change::Import(request)).await?;
    would::show(app, "import the advisories", &preview)
}

/// Shows what it would come to, and changes nothing.
pub(super) async fn plan(app: &App, vault: &Vault, known: &Known) -> Result<Exit> {
    let (request, looked) = compared(app, vault, known, false).await?;
    notes(app, &looked);
    let scopes: Vec<_> = request.scopes.iter().map(|scope| scope.scope.clone()).collect();
    let mut planned = Planned::new("import the advisories", "AdvisoryService/ImportAdvisories");
    planned.say("ecosystems", scopes.join(", "));
    planned.say("matches", request.matches.len());
    planned.say("images", request.images.len());
    planned.say("verdicts compared", looked.compared);
    if !scopes.is_empty() {
        let preview = would::ask(vault, "look at what the import would take", Change::Import(request)).await?;
        would::lines(&preview).into_iter().for_each(|line| planned.checked(line));
    }
    planned.show(app)
}

#[cfg(test)]
mod tests {
    use coffer_client::proto::PackageList;
    use coffer_packages::Importer;

    use super::*;

    fn known(count: usize) -> Known {
        let mut importer = Importer::new("2026-11-29".parse().unwrap());
        for (number, score) in [(1, "high"), (2, "low")].into_iter().take(count) {
            let text = format!(
                r#"{{ "id": "DEBIAN-{number}", "modified": "2026-10-01", "aliases": ["CVE-{number}", "{number}{}"],
                "database_specific": {{ "severity": "{score}" }}, "affected": [
                {{ "package": {{ "ecosystem": "Debian:12", "name": "openssl" }},
                   "ranges": [{{ "type": "ECOSYSTEM", "events": [{{ "introduced": "0" }}, {{ "fixed": "3.0.2" }}] }}] }}] }}"#,
                "X".repeat(ALIAS_BYTES_MAX)
            );
            importer.add(&format!("{number}.json"), text.as_bytes()).unwrap();
        }
        importer.finish().0
    }

    fn image(manifest: &str, fail_on: &str, packages: &[(&str, &str, &str)]) -> AttestedPackages {
        let package = |(scope, name, version): &(&str, &str, &str)| ImagePackage {
            scope: (*scope).to_owned(),
            name: (*name).to_owned(),
            version: (*version).to_owned(),
        };
        AttestedPackages {
            manifest: manifest.to_owned(),
            passed: true,
            fail_on: fail_on.to_owned(),
            packages: Some(PackageList { packages: packages.iter().map(package).collect(), incomplete: false }),
            ..AttestedPackages::default()
        }
    }

    const OLD: (&str, &str, &str) = ("Debian:12", "openssl", "3.0.1");
    const NEW: (&str, &str, &str) = ("Debian:12", "openssl", "3.0.2");

    fn sent(images: Vec<AttestedPackages>, before: &[&str]) -> (ImportAdvisoriesRequest, Looked) {
        let (known, mut matching) = (known(2), Matching::default());
        images.into_iter().for_each(|image| matching.image(&known, image));
        matching.request(&known, before.iter().map(|&scope| scope.to_owned()).collect(), false)
    }

    #[test]
    fn an_image_is_told_with_what_is_bad_enough_for_its_own_verdict() {
        let (request, looked) = sent(
            vec![
                image("a", "high", &[OLD]),
                image("b", "low", &[OLD]),
                image("c", "", &[OLD]),
                image("d", "low", &[NEW, ("Go", "x", "v1")]),
                AttestedPackages { passed: false, ..image("e", "low", &[OLD]) },
                AttestedPackages { packages: None, ..image("f", "low", &[]) },
            ],
            &[],
        );
        let images: Vec<_> = request.images.iter().map(|image| (image.manifest.as_str(), image.matches.len())).collect();
        assert_eq!(images, [("a", 1), ("b", 2)]);
        let matches: Vec<_> = request.matches.iter().map(|found| (found.advisory.as_str(), found.severity.as_str())).collect();
        assert_eq!(matches, [("CVE-1", "high"), ("CVE-2", "low")]);
        assert_eq!(
            (request.matches[0].fixed.as_str(), request.matches[0].aliases.as_slice()),
            ("3.0.2", &["DEBIAN-1".to_owned()][..])
        );
        assert_eq!(request.images[0].matches, [0]);
        assert_eq!(
            looked,
            Looked { compared: 5, without_packages: 1, incomplete: 0, tolerant: 1, uncovered: ["Go".to_owned()].into() }
        );
    }

    #[test]
    fn matches_that_no_image_has_are_not_sent() {
        let (request, _) = sent(vec![image("a", "critical", &[OLD]), image("b", "high", &[OLD])], &[]);
        assert_eq!((request.matches.len(), request.images.len(), request.images[0].matches.as_slice()), (1, 1, &[0][..]));
        let (request, _) = sent(vec![image("a", "high", &[NEW])], &[]);
        assert_eq!((request.matches.len(), request.images.len(), request.scopes.len()), (0, 0, 1));
    }

    #[test]
    fn an_ecosystem_is_told_where_an_image_has_it_or_had_it() {
        assert!(sent(vec![image("a", "high", &[("Go", "x", "v1")])], &[]).0.scopes.is_empty());
        assert_eq!(sent(Vec::new(), &["Debian:12", "Go"]).0.scopes.len(), 1);
    }

    #[test]
    fn an_advisory_is_told_within_the_limits_of_the_vault() {
        let document = |fixed: usize, aliases: usize| {
            let names: Vec<_> = (0..aliases).map(|number| format!("\"X-{number}\"")).collect();
            let text = format!(
                r#"{{ "id": "CVE-1", "modified": "2026-10-01", "aliases": [{}], "affected": [ {{ "package": {{ "ecosystem": "Debian:12", "name": "openssl" }},
                   "ranges": [{{ "type": "ECOSYSTEM", "events": [{{ "introduced": "0" }}, {{ "fixed": "9{}" }}] }}] }}] }}"#,
                names.join(","),
                "0".repeat(fixed - 1)
            );
            let mut importer = Importer::new("2026-11-29".parse().unwrap());
            importer.add("1.json", text.as_bytes()).unwrap();
            importer.finish().0
        };
        let of = |known: Known| {
            let mut matching = Matching::default();
            matching.image(&known, image("a", "low", &[OLD]));
            let found = matching.matches.remove(0);
            (found.fixed.len(), found.aliases.len(), found.severity)
        };
        assert_eq!(of(document(FIXED_BYTES_MAX, ALIASES_MAX)), (FIXED_BYTES_MAX, ALIASES_MAX, "medium".to_owned()));
        assert_eq!(of(document(FIXED_BYTES_MAX + 1, ALIASES_MAX + 1)), (0, ALIASES_MAX, "medium".to_owned()));
    }
}
