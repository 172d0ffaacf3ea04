//! Layers of images: archives that anybody may have made, packed in whatever way.

use coffer_images::{Config, Image, Outcome, Place, SECRETS_MAX, gather, judge};

pub(crate) const WORDS: &[&str] = &[
    "ustar\0",
    "ustar  \0",
    "././@LongLink",
    "../",
    "/.wh.",
    ".wh..wh..opq",
    "SCHILY.xattr.security.capability=",
    "GNU.sparse.size=",
    " size=1\n",
    " path=../x\n",
    "0000644\0",
    "00000000010\0",
    "\x1f\u{8}",
    "PK\u{3}\u{4}",
    "-----BEGIN PRIVATE KEY-----",
    "etc/shadow",
    "root/.netrc",
    "\0\0\0\0",
];

pub(crate) fn check(input: &[u8]) {
    // In two layers, so that what is found can be hidden.
    let image = Image::in_memory(Config::default(), vec![input.to_vec(), input.to_vec()]);
    let facts = gather(image, &mut |_| ());
    assert_eq!(facts.layers.len(), 2);
    assert_eq!(facts.layers.first().map(|layer| &layer.outcome), facts.layers.last().map(|layer| &layer.outcome));
    assert!(facts.secrets.len() <= SECRETS_MAX);
    for secret in &facts.secrets {
        let Place::File { layer, path, .. } = &secret.place else { unreachable!("there is nothing but files") };
        assert!((1..=2).contains(layer) && secret.gone_in.is_none_or(|hides| hides >= *layer), "{secret:?}");
        assert!(path.split('/').all(|part| part != ".."), "{path}");
    }
    let is_whole = facts.layers.iter().all(|layer| layer.outcome == Outcome::Read);
    let report = judge("image", &facts);
    let passes =
        |id: &str| report.findings.iter().any(|finding| finding.check.id == id && finding.status == coffer_checks::Status::Pass);
    assert!(is_whole || !passes("IMG-01"), "a layer was not read, and has no key: {:?}", facts.layers);
}
