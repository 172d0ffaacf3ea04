use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_checks::{Report, Status};
use coffer_crypto::{
    ecdsa::{Curve, EcdsaKey},
    spki::ecdsa_pem,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    Against, Base, Choice, Image, TrustFile,
    digest::blob,
    facts::LayerFacts,
    gather,
    kit::{Layer, Layout, put},
    signature::{BUNDLE, Content, SIGNATURE_BYTES_MAX, SIMPLE, SIMPLE_ANNOTATION},
};

/// What `cosign save` wrote of a signed image.
const SAVED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/signature/tests/saved");
const SAVED_KEY: &str = include_str!("../../signature/tests/p256.pub");

fn trust(file: TrustFile) -> Trust {
    let mut trust = Trust::default();
    trust.add(file).unwrap();
    trust
}

fn of_keys(keys: &[&str]) -> Trust {
    trust(TrustFile { cosign_keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..TrustFile::default() })
}

fn judged(facts: &Facts, trust: &Trust) -> Report {
    crate::judge_against("image", facts, &Against { trust: Some(trust), ..Against::default() })
}

/// The statuses of IMG-18 and IMG-19, and what the first is seen from.
fn of_signatures(facts: &Facts, trust: &Trust) -> ([Status; 2], String) {
    let report = judged(facts, trust);
    let of = |id: &str| report.findings.iter().find(|finding| finding.check.id == id).unwrap();
    ([of("IMG-18").status, of("IMG-19").status], of("IMG-18").evidence.clone())
}

fn facts_of(folder: &Path) -> Facts {
    let mut image = Image::open(folder, &Choice::default()).unwrap();
    let signatures = image.signatures().unwrap();
    Facts { signatures: Some(signatures), ..gather(image, &mut |_| ()) }
}

/// A layout whose image is signed.
struct Signed {
    layout: Layout,
    key: EcdsaKey,
    image: Digest,
}

impl Signed {
    fn new() -> Self {
        let layout = Layout::new(json!({}), vec![Layer::new().file("app", b"x").into()]);
        let image = layout.open().unwrap().manifest.unwrap();
        Self { layout, key: EcdsaKey::generate(Curve::P256).unwrap(), image }
    }

    fn folder(&self) -> &Path {
        self.layout.folder.path()
    }

    fn pem(&self) -> String {
        ecdsa_pem(Curve::P256, self.key.public_key())
    }

    /// A layer of simple signing.
    fn layer(&self, image: &str, name: &str) -> Value {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": name },
                "image": { "docker-manifest-digest": image },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string();
        let signature = STANDARD.encode(self.key.sign(payload.as_bytes()).unwrap());
        let digest = put(self.folder(), payload.as_bytes());
        json!({ "mediaType": SIMPLE, "digest": digest, "size": payload.len(), "annotations": { SIMPLE_ANNOTATION: signature } })
    }

    /// A manifest that refers to an image, with a bundle about it.
    fn bundle(&self, about: &Digest) -> Value {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": about.to_string().replace("sha256:", "") } }],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
        });
        let (kind, statement) = ("application/vnd.in-toto+json", statement.to_string());
        let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        let signature = STANDARD.encode(self.key.sign(message.as_bytes()).unwrap());
        let envelope =
            json!({ "payloadType": kind, "payload": STANDARD.encode(&statement), "signatures": [{ "sig": signature }] });
        let bundle = put(self.folder(), json!({ "mediaType": BUNDLE, "dsseEnvelope": envelope }).to_string().as_bytes());
        let manifest = json!({
            "subject": { "digest": about, "mediaType": "m", "size": 1 },
            "layers": [{ "mediaType": BUNDLE, "digest": bundle, "size": 1 }],
        });
        let manifest = put(self.folder(), manifest.to_string().as_bytes());
        json!({ "mediaType": "m", "artifactType": BUNDLE, "digest": manifest, "size": 1 })
    }

    /// Puts a descriptor into the index.
    fn beside(&self, descriptor: Value) {
        let path = self.folder().join("index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        index["manifests"].as_array_mut().unwrap().push(descriptor);
        fs::write(path, index.to_string()).unwrap();
    }

    /// Signatures of simple signing at the tag of an image.
    fn at(&self, image: &Digest, layers: &[Value]) {
        let manifest = put(self.folder(), json!({ "layers": layers }).to_string().as_bytes());
        let tag = format!("{}.sig", image.to_string().replace(':', "-"));
        let name = json!({ "org.opencontainers.image.ref.name": tag });
        self.beside(json!({ "mediaType": "m", "digest": manifest, "size": 1, "annotations": name }));
    }

    fn judged(&self) -> ([Status; 2], String) {
        of_signatures(&facts_of(self.folder()), &of_keys(&[&self.pem()]))
    }
}

const PASSED: [Status; 2] = [Status::Pass, Status::Pass];

#[test]
fn what_cosign_saved_is_signed_by_its_key_and_no_other() {
    let facts = facts_of(Path::new(SAVED));
    let (statuses, evidence) = of_signatures(&facts, &of_keys(&[SAVED_KEY]));
    assert_eq!(statuses, PASSED);
    let key = "sha256:2537dbf74dd5dc3e7071a2225a7410f63967f7bf3644a559898239a8e6e821fb";
    let signature = "sha256:3f59ea6ee56cffc0c706b27d5a284c92cffc6651db5bc2c7cfd783e1083c2745";
    assert_eq!(evidence, format!("the signature {signature} by the key {key}"));
    let (statuses, evidence) = of_signatures(&facts, &of_keys(&[&Signed::new().pem()]));
    assert_eq!(statuses, [Status::Fail, Status::NotApplicable]);
    let expected = format!("no signature of 1 counts: {signature}: it is by no key that is trusted");
    assert_eq!(evidence, expected);
}

#[test]
fn an_image_that_nobody_signed_fails_only_where_a_key_is_trusted() {
    let signed = Signed::new();
    let (statuses, evidence) = signed.judged();
    assert_eq!((statuses, evidence.as_str()), ([Status::Fail, Status::NotApplicable], "there is no signature beside it"));
    let facts = facts_of(signed.folder());
    assert_eq!(of_signatures(&facts, &Trust::default()).0, [Status::NotApplicable; 2]);
    // Where nobody looked, and where nothing can lie, is not where nothing is.
    for signatures in [None, Some(Signatures::Nowhere("why"))] {
        let facts = Facts { signatures, ..Facts::default() };
        assert_eq!(of_signatures(&facts, &of_keys(&[SAVED_KEY])).0, [Status::Unknown; 2]);
    }
}

#[test]
fn either_format_signs_an_image_wherever_a_layout_has_it() {
    let simple = Signed::new();
    simple.at(&simple.image, &[simple.layer(&simple.image.to_string(), "")]);
    assert_eq!(simple.judged().0, PASSED);
    let bundle = Signed::new();
    bundle.beside(bundle.bundle(&bundle.image));
    assert_eq!(bundle.judged().0, PASSED);
    // As a tag that stands for what refers to it.
    let tagged = Signed::new();
    let index = json!({ "manifests": [tagged.bundle(&tagged.image)] }).to_string();
    let index = put(tagged.folder(), index.as_bytes());
    let name = json!({ "org.opencontainers.image.ref.name": tagged.image.to_string().replace(':', "-") });
    tagged.beside(json!({ "mediaType": "i", "digest": index, "size": 1, "annotations": name }));
    assert_eq!(tagged.judged().0, PASSED);
}

#[test]
fn a_signature_of_the_index_is_one_of_its_images() {
    let signed = Signed::new();
    let image = json!({ "mediaType": "m", "digest": signed.image, "size": 1 });
    let index = put(signed.folder(), json!({ "manifests": [image] }).to_string().as_bytes());
    let list = json!({ "manifests": [{ "mediaType": "i", "digest": index, "size": 1 }] });
    fs::write(signed.folder().join("index.json"), list.to_string()).unwrap();
    assert_eq!(signed.judged().0, [Status::Fail, Status::NotApplicable]);
    signed.at(&index, &[signed.layer(&index.to_string(), "")]);
    assert_eq!(signed.judged().0, PASSED);
}

#[test]
fn a_signature_of_another_image_is_none_wherever_it_is_put() {
    let signed = Signed::new();
    let other = Digest::of(b"other");
    signed.at(&signed.image, &[signed.layer(&other.to_string(), "")]);
    let (statuses, evidence) = signed.judged();
    assert_eq!(statuses, [Status::Fail, Status::Fail]);
    assert!(evidence.ends_with("it is about another image"), "{evidence}");
    // A bundle that refers to the image, and is about another.
    let moved = Signed::new();
    let mut descriptor = moved.bundle(&other);
    let digest: Digest = serde_json::from_value(descriptor["digest"].clone()).unwrap();
    let manifest = fs::read_to_string(moved.folder().join(blob(&digest))).unwrap();
    let changed = manifest.replace(&other.to_string(), &moved.image.to_string());
    descriptor["digest"] = json!(put(moved.folder(), changed.as_bytes()));
    moved.beside(descriptor);
    assert_eq!(moved.judged().0, [Status::Fail, Status::Fail]);
    // One that is right beside it is enough.
    let both = Signed::new();
    let layers = [both.layer(&other.to_string(), ""), both.layer(&both.image.to_string(), "")];
    both.at(&both.image, &layers);
    assert_eq!(both.judged().0, PASSED);
}

#[test]
fn a_signature_under_another_name_fails_until_that_name_is_trusted() {
    let signed = Signed::new();
    signed.at(&signed.image, &[signed.layer(&signed.image.to_string(), "index.docker.io/library/app")]);
    let with = |reference: &str, signed_as: &[&str]| {
        let facts = Facts { reference: reference.parse().ok(), ..facts_of(signed.folder()) };
        let signed_as = signed_as.iter().map(|name| (*name).to_owned()).collect();
        of_signatures(&facts, &trust(TrustFile { cosign_keys: vec![signed.pem()], signed_as, ..TrustFile::default() })).0
    };
    let (right, wrong) = (PASSED, [Status::Pass, Status::Fail]);
    for (reference, signed_as, statuses) in [
        ("docker.io/library/app:1", &[][..], right),
        ("app", &[], right),
        ("docker.io/library/test:1", &[], wrong),
        ("mirror.example/app:1", &[], wrong),
        ("mirror.example/app:1", &["docker.io/library"], right),
        ("mirror.example/app:1", &["docker.io/lib"], wrong),
        // A folder has no name that could be another.
        ("", &[], right),
        ("", &["a.example"], wrong),
    ] {
        assert_eq!(with(reference, signed_as), statuses, "{reference} {signed_as:?}");
    }
}

#[test]
fn so_many_signatures_of_so_many_bytes_are_looked_at_and_no_more() {
    for (others, is_signed) in [(SIGNATURES_MAX - 1, true), (SIGNATURES_MAX, false)] {
        let signed = Signed::new();
        let mut layers = vec![signed.layer(&Digest::of(b"other").to_string(), ""); others];
        layers.push(signed.layer(&signed.image.to_string(), ""));
        signed.at(&signed.image, &layers);
        let (statuses, evidence) = signed.judged();
        assert_eq!(statuses[0] == Status::Pass, is_signed, "{others}: {evidence}");
        assert_eq!(evidence.contains("of more than 64 the rest was not looked at"), !is_signed, "{evidence}");
    }
    for (bytes, is_read) in [(SIGNATURE_BYTES_MAX, true), (SIGNATURE_BYTES_MAX + 1, false)] {
        let signed = Signed::new();
        let digest = put(signed.folder(), &vec![b' '; bytes]);
        let layer = json!({ "mediaType": SIMPLE, "digest": digest, "size": 1, "annotations": { SIMPLE_ANNOTATION: "" } });
        signed.at(&signed.image, &[layer]);
        let Some(Signatures::Found(found, More::No)) = facts_of(signed.folder()).signatures else { unreachable!() };
        assert_eq!(!matches!(found[0].content, Content::Unread(_)), is_read, "{bytes}");
    }
}

#[test]
fn so_many_signatures_are_named_and_no_more() {
    for count in [SIGNATURES_NAMED_MAX, SIGNATURES_NAMED_MAX + 1] {
        let signed = Signed::new();
        let others = (0..count).map(|number| signed.layer(&Digest::of(number.to_string().as_bytes()).to_string(), ""));
        signed.at(&signed.image, &others.collect::<Vec<_>>());
        let (_, evidence) = signed.judged();
        assert!(evidence.starts_with(&format!("no signature of {count} counts: ")), "{evidence}");
        assert_eq!(evidence.matches("it is about another image").count(), SIGNATURES_NAMED_MAX, "{evidence}");
    }
}

#[test]
fn what_is_broken_beside_an_image_signs_nothing_and_hides_nothing() {
    let layer =
        |digest: Digest| json!({ "mediaType": SIMPLE, "digest": digest, "size": 1, "annotations": { SIMPLE_ANNOTATION: "" } });
    let signed = Signed::new();
    let changed = put(signed.folder(), b"payload");
    fs::write(signed.folder().join(blob(&changed)), "another").unwrap();
    let unnamed = json!({ "mediaType": SIMPLE, "digest": put(signed.folder(), b"{}"), "size": 2 });
    let good = signed.layer(&signed.image.to_string(), "");
    signed.at(&signed.image, &[layer(Digest::of(b"nowhere")), layer(changed), unnamed, good]);
    let Some(Signatures::Found(found, _)) = facts_of(signed.folder()).signatures else { unreachable!() };
    let unread = found.iter().filter_map(|one| if let Content::Unread(why) = one.content { Some(why) } else { None });
    let expected = [
        "it is not where its manifest says, or not whole",
        "it has another digest than its manifest says",
        "its manifest does not have it",
    ];
    assert_eq!(unread.collect::<Vec<_>>(), expected);
    assert_eq!(signed.judged().0, PASSED);
    // A manifest of signatures that is none.
    let broken = Signed::new();
    let manifest = put(broken.folder(), b"[7]");
    let tag = format!("{}.sig", broken.image.to_string().replace(':', "-"));
    let name = json!({ "org.opencontainers.image.ref.name": tag });
    broken.beside(json!({ "mediaType": "m", "digest": manifest, "size": 1, "annotations": name }));
    broken.beside(json!({ "mediaType": "m", "artifactType": BUNDLE, "digest": manifest, "size": 1 }));
    let (statuses, evidence) = broken.judged();
    assert_eq!((statuses[0], evidence.matches("its manifest is none").count()), (Status::Fail, 2), "{evidence}");
}

#[test]
fn a_registry_is_trusted_or_not_and_a_folder_has_none() {
    let trusted =
        trust(TrustFile { registries: vec!["docker.io/library".into(), "a.example:5000".into()], ..TrustFile::default() });
    for (image, status) in [
        ("busybox", Status::Pass),
        ("a.example:5000/b:1", Status::Pass),
        ("a.example/b:1", Status::Fail),
        ("grafana/loki", Status::Fail),
        ("", Status::Unknown),
    ] {
        let facts = Facts { reference: image.parse().ok(), ..Facts::default() };
        assert_eq!(registry(&facts, &trusted).status, status, "{image}");
        assert_eq!(registry(&facts, &Trust::default()).status, Status::NotApplicable, "{image}");
    }
}

#[test]
fn an_image_is_built_on_a_base_whose_layers_are_its_first_and_were_read() {
    let layers = |names: &[&str]| names.iter().map(|name| Digest::of(name.as_bytes())).collect::<Vec<_>>();
    let base_of = |names: &[&str]| {
        trust(TrustFile { bases: vec![Base { name: "debian".into(), diff_ids: layers(names) }], ..TrustFile::default() })
    };
    let with = |read: usize| {
        let mut facts = Facts::default();
        facts.config.rootfs.diff_ids = layers(&["a", "b", "c"]);
        for number in 0..3 {
            let outcome = if number < read { Outcome::Read } else { Outcome::Unread("why".to_owned()) };
            facts.layers.push(LayerFacts { name: String::new(), outcome, files: 0, bytes: 0, is_partial: false });
        }
        facts
    };
    for (names, read, status) in [
        (&["a", "b"][..], 3, Status::Pass),
        (&["a", "b", "c"], 3, Status::Pass),
        (&["a", "b"], 2, Status::Pass),
        (&["a", "b"], 1, Status::Unknown),
        (&["b"], 3, Status::Fail),
        (&["b", "a"], 3, Status::Fail),
        (&["a", "b", "c", "d"], 3, Status::Fail),
    ] {
        assert_eq!(base(&with(read), &base_of(names)).status, status, "{names:?} {read}");
    }
    assert_eq!(base(&with(3), &Trust::default()).status, Status::NotApplicable);
    // What says that it has layers, and has none.
    let empty = Facts { layers: Vec::new(), ..with(0) };
    assert_eq!(base(&empty, &base_of(&["a"])).status, Status::Unknown);
}
