//! `AdvisoryService`: advisories that come out after images were attested.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::limits::{SCAN_PACKAGES_BYTES_MAX, VERDICTS_MAX};
use coffer_proto::v1::{
    AdvisoryImport, AdvisoryScope, AttestedPackages, ImportAdvisoriesRequest, ImportAdvisoriesResponse,
    ListAdvisoryImportsRequest, ListAdvisoryImportsResponse, ListImagePackagesRequest, ListImagePackagesResponse, PackageList,
    advisory_service_server::AdvisoryService,
};
use coffer_vault::{AdvisoryMatch, Failure, Imported, NewImport, Planned, Unsealed, VerdictRecord};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

/// Bytes of packages on a page, the last image's beside: with that an answer has room for them.
const PACKAGES_PAGE_BYTES: usize = SCAN_PACKAGES_BYTES_MAX;
/// Images on a page.
const IMAGES_PAGE_MAX: usize = 200;

service! { AdvisoryService:
    list_image_packages(ListImagePackagesRequest) -> ListImagePackagesResponse = ListImagePackages;
    import_advisories(ImportAdvisoriesRequest) -> ImportAdvisoriesResponse = Import;
    list_advisory_imports(ListAdvisoryImportsRequest) -> ListAdvisoryImportsResponse = ListImports;
}

/// An import as a request asks for it.
pub(super) fn import(request: ImportAdvisoriesRequest) -> Result<NewImport, Failure> {
    if request.images.len() > VERDICTS_MAX {
        let message = format!("an import has at most {VERDICTS_MAX} images");
        return Err(Failure::told(coffer_core::reason::Reason::LimitExceeded, message));
    }
    let mut new = NewImport { force: request.force, ..NewImport::default() };
    for AdvisoryScope { scope, newest, packages } in request.scopes {
        if new.scopes.insert(scope, (newest, packages)).is_some() {
            return Err(Failure::invalid("an import names each ecosystem once"));
        }
    }
    for found in request.matches {
        let package = found.package.ok_or_else(|| Failure::invalid("an advisory is about a package"))?;
        new.matches.push(AdvisoryMatch {
            package: convert::image_package(package),
            advisory: found.advisory,
            aliases: found.aliases,
            severity: found.severity,
            fixed: found.fixed,
        });
    }
    for image in request.images {
        let places = image.matches.into_iter().collect();
        if new.images.insert(super::gate::digest(&image.manifest)?, places).is_some() {
            return Err(Failure::invalid("an import names each image once"));
        }
    }
    new.check()?;
    Ok(new)
}

struct ListImagePackages {
    page: Page,
}

/// A verdict's image with its packages, and how many bytes those are.
async fn attested(vault: &Unsealed, verdict: &VerdictRecord) -> Result<(AttestedPackages, usize), Failure> {
    let list = vault.packages_of(verdict).await?;
    let wire = |list: &coffer_vault::PackageList| PackageList {
        packages: list.packages().map(convert::wire_image_package).collect(),
        incomplete: list.is_incomplete(),
    };
    let packages = list.as_ref().map(wire);
    let bytes = packages.iter().flat_map(|list| &list.packages).map(prost::Message::encoded_len).sum();
    let scan = &verdict.scan;
    let told = AttestedPackages {
        manifest: scan.manifest.to_string(),
        reference: scan.reference.clone(),
        signer: verdict.signer.clone(),
        passed: verdict.passed,
        fail_on: scan.fail_on.clone(),
        packages,
    };
    Ok((told, bytes))
}

#[async_trait]
impl Operation for ListImagePackages {
    type Request = ListImagePackagesRequest;
    type Response = ListImagePackagesResponse;
    const RPC: Rpc = rpc::LIST_IMAGE_PACKAGES;

    fn parse(request: ListImagePackagesRequest) -> Result<Self, Failure> {
        Ok(Self { page: Page::parse(0, request.page_token)? })
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListImagePackagesResponse>, Failure> {
        const LIST: &str = "image packages";
        let after = self.page.after(&call.vault, LIST)?;
        let (rows, mut more) = call.vault.lasting_verdicts(&after, IMAGES_PAGE_MAX);
        let (mut images, mut bytes, mut last) = (Vec::new(), 0_usize, None);
        for (name, verdict) in &rows {
            if bytes >= PACKAGES_PAGE_BYTES {
                more = true;
                break;
            }
            let (image, its) = attested(&call.vault, verdict).await?;
            images.push(image);
            (bytes, last) = (bytes.saturating_add(its), Some(name.as_str()));
        }
        let next_page_token = Page::next(&call.vault, LIST, last, more)?;
        Ok(Planned::read(ListImagePackagesResponse { images, next_page_token }))
    }
}

struct Import(NewImport);

#[async_trait]
impl Operation for Import {
    type Request = ImportAdvisoriesRequest;
    type Response = ImportAdvisoriesResponse;
    const RPC: Rpc = rpc::IMPORT_ADVISORIES;
    const CHANGES_VAULT: bool = true;

    fn parse(request: ImportAdvisoriesRequest) -> Result<Self, Failure> {
        import(request).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        let scopes = self.0.scopes.iter().map(|(scope, (newest, packages))| format!("{scope} {packages} of {newest}"));
        BTreeMap::from([
            ("scopes".to_owned(), scopes.collect::<Vec<_>>().join(", ")),
            ("matches".to_owned(), self.0.matches.len().to_string()),
            ("images".to_owned(), self.0.images.len().to_string()),
            ("force".to_owned(), self.0.force.to_string()),
        ])
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        call.vault.check_import(&self.0).await
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ImportAdvisoriesResponse>, Failure> {
        let planned = call.vault.import_advisories(&call.who.caller, &self.0)?;
        let Imported { verdicts_failing, pods_passing, pods_failing } = planned.answer;
        call.record.detail("verdicts_failing", verdicts_failing);
        call.record.detail("pods_failing", pods_failing);
        Ok(planned.map(|_| ImportAdvisoriesResponse {
            verdicts_failing: convert::count(verdicts_failing),
            pods_passing: convert::count(pods_passing),
            pods_failing: convert::count(pods_failing),
        }))
    }
}

struct ListImports;

#[async_trait]
impl Operation for ListImports {
    type Request = ListAdvisoryImportsRequest;
    type Response = ListAdvisoryImportsResponse;
    const RPC: Rpc = rpc::LIST_ADVISORY_IMPORTS;

    fn parse(_: ListAdvisoryImportsRequest) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListAdvisoryImportsResponse>, Failure> {
        let known = call.vault.advisories();
        let imports = known.imports().map(|(scope, import, matches, images)| AdvisoryImport {
            scope: Some(AdvisoryScope { scope: scope.to_owned(), newest: import.newest.clone(), packages: import.packages }),
            imported: convert::time(import.imported),
            imported_by: import.by.clone(),
            matches: convert::count(matches),
            images: convert::count(images),
        });
        Ok(Planned::read(ListAdvisoryImportsResponse { imports: imports.collect() }))
    }
}
