//! Which images of a pod are to have a digest, and which they have: what is decided, without asking anybody.

use std::collections::{BTreeMap, BTreeSet};

use coffer_registry::Reference;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::{
    Refusal,
    annotations::{PREFIX, Request},
    injection::Settings,
};

/// Different images of a pod that are asked for.
const IMAGES_MAX: usize = 32;

/// What registries say: images as they are written, with their digests, or why they have none.
pub type Pins = BTreeMap<String, Result<String, String>>;

/// The images that registries have to be asked about before it can be decided about a pod. What is wrong with the pod, the decision says.
#[must_use]
pub fn unpinned(pod: &Pod, settings: &Settings) -> BTreeSet<String> {
    let annotations = pod.metadata.annotations.iter().flatten();
    // Most pods say nothing, and need not be read twice.
    if !settings.pin_images && !annotations.clone().any(|(name, _)| name.strip_prefix(PREFIX) == Some("pin-images")) {
        return BTreeSet::new();
    }
    let request = Request::read(annotations.map(|(name, value)| (name.as_str(), value.as_str())));
    let (Ok(Some(request)), Some(spec)) = (request, &pod.spec) else { return BTreeSet::new() };
    if !is_asked(&request, settings) || request.is_injected {
        return BTreeSet::new();
    }
    let images = containers(spec).filter_map(|container| container.image.as_deref());
    let images = images.chain([request.image.as_ref().unwrap_or(&settings.image).as_str()]);
    let images: BTreeSet<String> =
        images.filter(|image| has_no_digest(image).is_ok_and(|none| none)).map(str::to_owned).collect();
    // Past that the pod is refused, and nobody asked.
    if images.len() > IMAGES_MAX { BTreeSet::new() } else { images }
}

/// Whether a pod's images are to have digests.
pub(crate) fn is_asked(request: &Request, settings: &Settings) -> bool {
    request.pin_images.unwrap_or(settings.pin_images)
}

/// The image that a container gets, where it is another than is written.
pub(crate) fn pinned(container: &str, image: &str, pins: &Pins) -> Result<Option<String>, Refusal> {
    let refusal = |why: &str| Refusal::new(format!("the image of the container {container} cannot be pinned: {image}: {why}"));
    if !has_no_digest(image).map_err(|why| refusal(&why))? {
        return Ok(None);
    }
    match pins.get(image) {
        Some(Ok(pinned)) => Ok(Some(pinned.clone())),
        Some(Err(why)) => Err(refusal(why)),
        None if pins.is_empty() => Err(refusal(&format!("the pod has more than {IMAGES_MAX} images without a digest"))),
        None => Err(refusal("no registry was asked")),
    }
}

/// The images that change in a pod's spec: lists of containers, places in them, and the images.
pub(crate) fn changed(spec: &PodSpec, pins: &Pins) -> Result<Vec<(&'static str, usize, String)>, Refusal> {
    let lists =
        [("containers", spec.containers.as_slice()), ("initContainers", spec.init_containers.as_deref().unwrap_or_default())];
    let mut changed = Vec::new();
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let image = container.image.as_deref().unwrap_or_default();
            changed.extend(pinned(&container.name, image, pins)?.map(|pinned| (list, index, pinned)));
        }
    }
    Ok(changed)
}

/// Fails where a pod that says that it was injected has an image without a digest.
pub(crate) fn check(spec: &PodSpec) -> Result<(), Refusal> {
    let has_none = |container: &&Container| has_no_digest(container.image.as_deref().unwrap_or_default()).unwrap_or(true);
    match containers(spec).find(has_none) {
        Some(container) => {
            let why = format!("it says that images are pinned, and that of the container {} is not", container.name);
            Err(Refusal::of("status", why))
        }
        None => Ok(()),
    }
}

fn has_no_digest(image: &str) -> Result<bool, String> {
    image.parse().map(|image: Reference| image.digest().is_none()).map_err(|error| error.to_string())
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::injection::{Operation, inject, tests::settings};

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn pod(pin: Option<&str>, images: &[String]) -> Pod {
        let mut annotations = json!({ "coffer.dev/inject": "true", "coffer.dev/secret-a": "kv/a" });
        if let Some(pin) = pin {
            annotations["coffer.dev/pin-images"] = json!(pin);
        }
        let container = |(index, image): (usize, &String)| json!({ "name": format!("c{index}"), "image": image });
        let all: Vec<Value> = images.iter().enumerate().map(container).collect();
        let (init, main) = all.split_at(all.len() / 2);
        from_value(json!({ "metadata": { "annotations": annotations }, "spec": { "containers": main, "initContainers": init } }))
            .unwrap()
    }

    fn images(images: &[&str]) -> Vec<String> {
        images.iter().map(|image| (*image).to_owned()).collect()
    }

    fn pins(pod: &Pod) -> Pins {
        let pin =
            |image: String| (image.clone(), Ok(image.parse::<Reference>().unwrap().pinned(DIGEST.parse().unwrap()).to_string()));
        unpinned(pod, &settings()).into_iter().map(pin).collect()
    }

    /// The images of the pod that comes out, the agent's first.
    fn come_out(pod: &Pod) -> Result<Vec<String>, String> {
        let patch: Vec<Operation> = inject(pod, &settings(), &pins(pod)).map_err(|refusal| refusal.to_string())?;
        let mut pod = serde_json::to_value(pod).unwrap();
        let patch: json_patch::Patch = from_value(serde_json::to_value(patch).unwrap()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
        let lists = ["initContainers", "containers"].into_iter().flat_map(|list| pod["spec"][list].as_array().unwrap().clone());
        let images = lists.map(|container| container["image"].as_str().unwrap().to_owned()).collect();
        // Once more changes nothing, though nobody is asked then.
        let again: Pod = from_value(pod).unwrap();
        assert!(unpinned(&again, &settings()).is_empty());
        assert_eq!(inject(&again, &settings(), &Pins::new()), Ok(Vec::new()));
        Ok(images)
    }

    #[test]
    fn every_image_is_pinned_where_that_is_asked_for_and_keeps_its_tag() {
        let other = format!("a.example/b@{DIGEST}");
        let asked = pod(Some("true"), &images(&["busybox", "a.example/b:1", &other, "a.example/b:1"]));
        let agent = format!("registry.coffer.dev/coffer-agent:0.1.0@{DIGEST}");
        let (busybox, b) = (format!("docker.io/library/busybox:latest@{DIGEST}"), format!("a.example/b:1@{DIGEST}"));
        assert_eq!(come_out(&asked).unwrap(), [agent, busybox, b.clone(), other.clone(), b]);
        let not = ["registry.coffer.dev/coffer-agent:0.1.0", "busybox", &other];
        for pin in [None, Some("false")] {
            assert_eq!(come_out(&pod(pin, &images(&["busybox", &other]))).unwrap(), not);
        }
        // Where the operator says so, it need not be asked for, and can be left out.
        let usual = Settings { pin_images: true, ..settings() };
        assert_eq!(unpinned(&pod(None, &images(&["busybox"])), &usual).len(), 2);
        assert_eq!(unpinned(&pod(Some("false"), &images(&["busybox"])), &usual).len(), 0);
        assert_eq!(unpinned(&Pod::default(), &usual).len(), 0);
    }

    #[test]
    fn an_image_that_cannot_be_pinned_refuses_the_pod_by_its_container() {
        let asked = pod(Some("true"), &images(&["a.example/b:1", "busybox"]));
        let mut known = pins(&asked);
        known.insert("busybox".into(), Err("the registry docker.io takes too long to answer".into()));
        let refusal = inject(&asked, &settings(), &known).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "the image of the container c1 cannot be pinned: busybox: the registry docker.io takes too long to answer"
        );
        let refused = |image: &str, told: &str| {
            let refusal = come_out(&pod(Some("true"), &images(&[image]))).unwrap_err();
            assert!(
                refusal.starts_with("the image of the container c0 cannot be pinned: ") && refusal.contains(told),
                "{refusal}"
            );
        };
        refused("b@sha512:00", "a digest is sha256:");
        refused("a.example/B:1", "the repository has words");
        refused("", "the repository has words");
        // What says that it is done already, and is not.
        let mut forged = serde_json::to_value(&asked).unwrap();
        forged["metadata"]["annotations"]["coffer.dev/status"] = json!("injected");
        forged["spec"]["initContainers"][0]["name"] = json!("coffer");
        forged["spec"]["volumes"] = ["secrets", "token", "ca"].map(|name| json!({ "name": format!("coffer-{name}") })).into();
        let refusal = inject(&from_value(forged).unwrap(), &settings(), &Pins::new()).unwrap_err().to_string();
        assert_eq!(refusal, "annotation coffer.dev/status: it says that images are pinned, and that of the container c1 is not");
    }

    #[test]
    fn a_pod_has_so_many_images_and_no_more() {
        // The agent's is one of them.
        let many = |count: usize| pod(Some("true"), &(1..count).map(|index| format!("i{index}")).collect::<Vec<_>>());
        assert_eq!(unpinned(&many(IMAGES_MAX), &settings()).len(), IMAGES_MAX);
        assert!(come_out(&many(IMAGES_MAX)).is_ok());
        assert!(unpinned(&many(IMAGES_MAX + 1), &settings()).is_empty());
        assert!(come_out(&many(IMAGES_MAX + 1)).unwrap_err().ends_with("more than 32 images without a digest"));
    }
}
