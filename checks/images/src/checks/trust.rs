//! Whether an image is from those who are trusted.

use coffer_checks::{Check, Finding, Judgement, Severity, Tier};
use coffer_crypto::spki::VerifyingKey;
use coffer_registry::{Digest, Reference};

use crate::{
    facts::{Facts, Outcome},
    signature::{Claim, More, SIGNATURES_MAX, Signature, Signatures, Verdict},
    trust::{Trust, fingerprint},
};

/// Signatures that one finding names, at most.
const SIGNATURES_NAMED_MAX: usize = 3;

static SIGNED: Check = Check {
    id: "IMG-18",
    title: "signed by a key that is trusted",
    severity: Severity::Critical,
    tier: Tier::Gate,
    benchmarks: &["CIS-Docker-1.6.0 4.5", "NIST-800-190 4.1.5"],
    why: "Whoever can write to the registry, or stands between, can have another image run, with this one's secrets.",
    remedy: "sign it by its digest, where it is built: cosign sign --key KEY IMAGE@DIGEST",
};
static SAYS: Check = Check {
    id: "IMG-19",
    title: "what trusted keys signed is this image",
    severity: Severity::Critical,
    tier: Tier::Gate,
    benchmarks: &[],
    why: "A signature that was put beside another image, or is of an image of another name, says nothing about this one.",
    remedy: "sign it under its own name; where it is a copy, trust the name that it was signed as: --signed-as",
};
static REGISTRY: Check = Check {
    id: "IMG-20",
    title: "from a registry that is trusted",
    severity: Severity::High,
    tier: Tier::Gate,
    benchmarks: &["CIS-Docker-1.6.0 4.2", "NIST-800-190 4.1.5"],
    why: "Somebody else decides there what the image is.",
    remedy: "copy the image to a registry that is trusted, once it was looked at",
};
static BASE: Check = Check {
    id: "IMG-21",
    title: "built on a base image that is trusted",
    severity: Severity::Medium,
    tier: Tier::OptIn,
    benchmarks: &["CIS-Docker-1.6.0 4.2"],
    why: "What is below the application runs with its secrets, and nobody has said that it is good.",
    remedy: "build it anew on a base image of the list; coffer scan base IMAGE prints what to add for another",
};

/// Every check about trust.
pub(super) fn catalogue() -> impl Iterator<Item = &'static Check> {
    [&SIGNED, &SAYS, &REGISTRY, &BASE].into_iter()
}

pub(super) fn judge(facts: &Facts, trust: Option<&Trust>) -> Vec<Finding> {
    let nothing = Trust::default();
    let trust = trust.unwrap_or(&nothing);
    let (signed, says) = signatures(facts, trust);
    vec![
        Finding::new(&SIGNED, signed),
        Finding::new(&SAYS, says),
        Finding::new(&REGISTRY, registry(facts, trust)),
        Finding::new(&BASE, base(facts, trust)),
    ]
}

/// A signature by a key that is trusted.
struct Trusted<'a> {
    signature: &'a Signature,
    key: &'a VerifyingKey,
    /// What is wrong with what it says, if anything.
    wrong: Option<Wrong>,
}

enum Wrong {
    /// It is not about this image.
    Image(String),
    /// It calls this image something else.
    Name(String),
}

impl Trusted<'_> {
    fn why(&self) -> &str {
        match &self.wrong {
            Some(Wrong::Image(why) | Wrong::Name(why)) => why,
            None => "",
        }
    }

    fn named(&self) -> String {
        format!("the signature {} by the key {}", self.signature.digest, fingerprint(self.key))
    }
}

fn signatures(facts: &Facts, trust: &Trust) -> (Judgement, Judgement) {
    let both = |judgement: Judgement| (judgement.clone(), judgement);
    if !trust.has_keys() {
        return both(Judgement::not_applicable("no key is given that would be trusted"));
    }
    let (found, more) = match &facts.signatures {
        None => return both(Judgement::unknown("its signatures were not looked for")),
        Some(Signatures::Nowhere(why)) => return both(Judgement::unknown(*why)),
        Some(Signatures::Found(found, more)) => (found, *more),
    };
    let (mut trusted, mut others) = (Vec::new(), Vec::new());
    for signature in found {
        match signature.verdict(&trust.keys) {
            Verdict::None(why) => others.push(format!("{}: {why}", signature.digest)),
            Verdict::By(key, says) => trusted.push(Trusted { signature, key, wrong: wrong(facts, trust, says) }),
        }
    }
    let about_it = trusted.iter().find(|one| !matches!(one.wrong, Some(Wrong::Image(_))));
    let signed = match about_it {
        Some(one) => Judgement::pass(one.named()),
        None => Judgement::fail(unsigned(&trusted, others, more)),
    };
    (signed, says(&trusted))
}

/// Why no signature counts.
fn unsigned(trusted: &[Trusted<'_>], mut others: Vec<String>, more: More) -> String {
    if trusted.is_empty() && others.is_empty() {
        return "there is no signature beside it".to_owned();
    }
    let count = trusted.len() + others.len();
    let about_another = trusted.iter().map(|one| format!("{}: {}", one.signature.digest, one.why()));
    others = about_another.chain(others).collect();
    others.truncate(SIGNATURES_NAMED_MAX);
    let more =
        if more == More::Yes { format!("; of more than {SIGNATURES_MAX} the rest was not looked at") } else { String::new() };
    format!("no signature of {count} counts: {}{more}", others.join("; "))
}

/// What becomes of IMG-19: one signature that is right is enough.
fn says(trusted: &[Trusted<'_>]) -> Judgement {
    let Some(first) = trusted.first() else { return Judgement::not_applicable("no trusted key has signed anything beside it") };
    if let Some(right) = trusted.iter().find(|one| one.wrong.is_none()) {
        return Judgement::pass(right.named());
    }
    // What comes nearest is told: a name is mended more easily than an image.
    let nearest = trusted.iter().find(|one| matches!(one.wrong, Some(Wrong::Name(_)))).unwrap_or(first);
    Judgement::fail(format!("{}: {}", nearest.named(), nearest.why()))
}

/// What is wrong with what a trusted key has signed, if anything.
fn wrong(facts: &Facts, trust: &Trust, says: Result<Claim, &'static str>) -> Option<Wrong> {
    let claim = match says {
        Ok(claim) => claim,
        Err(why) => return Some(Wrong::Image(why.to_owned())),
    };
    // Of an index too: its digest stands for its images.
    let is_this = |digest: &Digest| [&facts.manifest, &facts.index].into_iter().flatten().any(|own| own == digest);
    if !claim.images.iter().any(is_this) {
        return Some(Wrong::Image("it is about another image".to_owned()));
    }
    let name = claim.name?;
    let Ok(name) = name.parse::<Reference>() else {
        return Some(Wrong::Name("it calls the image something that is no name".to_owned()));
    };
    let is_own = |own: &Reference| (own.host(), own.repository()) == (name.host(), name.repository());
    let is_allowed = trust.signed_as.iter().any(|scope| scope.holds(&name));
    // A folder or an archive has no name that could be another.
    let is_right = is_allowed || facts.reference.as_ref().map_or(trust.signed_as.is_empty(), is_own);
    (!is_right).then(|| Wrong::Name(format!("it calls the image {}/{}", name.host(), name.repository())))
}

fn registry(facts: &Facts, trust: &Trust) -> Judgement {
    if trust.registries.is_empty() {
        return Judgement::not_applicable("no registry is given that would be trusted");
    }
    let Some(image) = &facts.reference else {
        return Judgement::unknown("a folder or an archive does not say which registry it is from");
    };
    let place = format!("{}/{}", image.host(), image.repository());
    match trust.registries.iter().find(|scope| scope.holds(image)) {
        Some(scope) => Judgement::pass(format!("{place} is in {scope}")),
        None => Judgement::fail(format!("{place} is in no registry that is trusted")),
    }
}

fn base(facts: &Facts, trust: &Trust) -> Judgement {
    if trust.bases.is_empty() {
        return Judgement::not_applicable("no base image is given that would be trusted");
    }
    let layers = &facts.config.rootfs.diff_ids;
    let Some(base) = trust.bases.iter().find(|base| layers.starts_with(&base.diff_ids)) else {
        return Judgement::fail("its layers do not begin with those of a base image that is trusted");
    };
    // What a configuration says of its layers is not what they are until they were read.
    let read = facts.layers.iter().take(base.diff_ids.len()).filter(|layer| layer.outcome == Outcome::Read).count();
    match read == base.diff_ids.len() {
        true => Judgement::pass(format!("its first layers are those of {}", base.name)),
        false => Judgement::unknown(format!("it says that it is built on {}, whose layers were not all read", base.name)),
    }
}

#[cfg(test)]
mod tests;
