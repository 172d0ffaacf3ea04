//! Names of images, which whoever makes a pod writes, and users of registries.

use coffer_registry::{Credentials, Reference};
use coffer_secret::SecretBytes;

pub(crate) const WORDS: &[&str] = &[
    "docker.io/",
    "index.docker.io/",
    "library/",
    "localhost/",
    "169.254.169.254/",
    "[::1]:5000/",
    ":5000/",
    ":latest",
    "@sha256:",
    "@",
    ":",
    "/",
    "//",
    "..",
    "__",
    "--",
    "?",
    "#",
    "%2f",
    "user:password@",
    "https://",
    "\r\nHost: x",
    "\u{e9}",
    "A",
    "\0",
    "{\"auths\":{",
    "\"auth\":",
    "\"username\":",
];
/// Bytes of a registry and a repository.
const REPOSITORY_BYTES_MAX: usize = 255;

pub(crate) fn check(input: &[u8]) {
    // It is read or refused, and neither tells what is in it.
    drop(Credentials::read(&SecretBytes::copied_from(input)));
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(image) = text.parse::<Reference>() else { return };
    let whole = image.to_string();
    assert_eq!(whole.parse().as_ref(), Ok(&image), "{whole} is read differently");
    assert!(image.tag().is_some() || image.digest().is_some(), "{whole} is no one image");
    // What is asked, and where, has nothing in it that would be read in another way.
    let is_plain =
        |text: &str, more: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c));
    assert!(is_plain(image.host(), ".-:[]") && !image.host().is_empty(), "{whole}");
    assert!(is_plain(image.repository(), "._-/"), "{whole}");
    assert!(image.repository().split('/').all(|part| !part.is_empty() && part != "." && part != ".."), "{whole}");
    assert!(image.host().len() + 1 + image.repository().len() <= REPOSITORY_BYTES_MAX);
    let tag = image.tag().unwrap_or("t");
    assert!(tag.len() <= 128 && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{whole}");
    // The host is what is written, or what stands for none: whoever lists registries knows which are asked.
    assert!(image.host() == "docker.io" || text.starts_with(&format!("{}/", image.host())), "{whole}");
}
