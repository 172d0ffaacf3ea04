//! What lies beside an image in its registry: what refers to it, and what a tag stands for where there may be none.

use hyper::{
    Method,
    header::{HeaderMap, LINK},
};
use serde::Deserialize;

use crate::{
    Client, Digest, Error, Manifest, Reference,
    client::{MANIFEST_BYTES_MAX, escaped, in_time, media_type},
    origin::{Origin, Target},
};

/// Pages of a list of what refers to an image, at most.
pub const REFERRER_PAGES_MAX: usize = 8;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: Digest,
    artifact_type: Option<String>,
}

impl Client {
    /// An image's manifest, or index; none where the registry has no such image.
    ///
    /// # Errors
    /// As [`Client::manifest`], but for what is not there.
    pub async fn find(&self, image: &Reference) -> Result<Option<Manifest>, Error> {
        match self.manifest(image).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The manifests of this artifact type that refer to one (OCI distribution-spec 1.1, "Listing Referrers"): as the registry says, or
    /// where it does not know of referrers, as the tag says that stands for them.
    ///
    /// # Errors
    /// Where the registry does not say, or in more than [`REFERRER_PAGES_MAX`] pages.
    pub async fn referrers(&self, image: &Reference, digest: &Digest, artifact_type: &str) -> Result<Vec<Digest>, Error> {
        let listed = in_time(image, self.listed(image, digest, artifact_type)).await?;
        let of_type = |index: Index| {
            let is_of_type = |descriptor: &Descriptor| descriptor.artifact_type.as_deref() == Some(artifact_type);
            index.manifests.into_iter().filter(is_of_type).map(|descriptor| descriptor.digest)
        };
        if let Some(pages) = listed {
            return Ok(pages.into_iter().flat_map(of_type).collect());
        }
        let tag = digest.to_string().replacen(':', "-", 1);
        let tagged = image.tagged(&tag).map_err(|error| Error::wrong(image.host(), error.to_string()))?;
        let Some(Manifest { bytes, .. }) = self.find(&tagged).await? else { return Ok(Vec::new()) };
        read(image, &bytes).map(|index| of_type(index).collect())
    }

    /// Every page; none where the registry does not know of referrers.
    async fn listed(&self, image: &Reference, digest: &Digest, artifact_type: &str) -> Result<Option<Vec<Index>>, Error> {
        let mut path = format!("/v2/{}/referrers/{digest}?artifactType={}", image.repository(), escaped(artifact_type));
        let mut pages = Vec::new();
        for _ in 0..REFERRER_PAGES_MAX {
            let head = self.ask(&Method::GET, image, &path, INDEX).await?;
            // What registries say that do not know of it; some send a page for people.
            let is_unknown = matches!(head.status, 400 | 404 | 405 | 406);
            if pages.is_empty() && (is_unknown || head.status == 200 && media_type(&head.headers) != INDEX) {
                return Ok(None);
            }
            let head = head.granted().await?;
            let next = next_page(&head.headers, &head.origin);
            pages.push(read(image, &head.whole(MANIFEST_BYTES_MAX).await?)?);
            match next {
                Some(next) => path = next,
                None => return Ok(Some(pages)),
            }
        }
        let host = image.host();
        Err(Error::wrong(host, format!("more than {REFERRER_PAGES_MAX} pages of what refers to {digest}")))
    }
}

fn read(image: &Reference, bytes: &[u8]) -> Result<Index, Error> {
    serde_json::from_slice(bytes).map_err(|_| Error::wrong(image.host(), "its list of what refers to an image is none"))
}

/// Where the next page is, at the same registry.
fn next_page(headers: &HeaderMap, at: &Origin) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok()).flat_map(|links| links.split(','));
    let mut next = links.filter_map(|link| link.trim().strip_prefix('<')?.split_once('>'));
    let (address, _) = next.find(|(_, about)| about.split(';').any(|word| matches!(word.trim(), "rel=\"next\"" | "rel=next")))?;
    Target::read(address, Some(at)).filter(|target| target.origin.is(at)).map(|target| target.path)
}
