use super::*;

fn read(annotations: &[(&str, &str)]) -> Result<Option<Request>, Refusal> {
    let inject = [(INJECT.to_owned(), "true".to_owned())];
    let others = annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
    let all: BTreeMap<String, String> = inject.into_iter().chain(others).collect();
    Request::read(all.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn refusal(annotations: &[(&str, &str)]) -> String {
    read(annotations).unwrap_err().to_string()
}

#[test]
fn two_annotations_are_enough() {
    let request = read(&[("secret-db", "kv/prod/payments")]).unwrap().unwrap();
    assert_eq!(request.files["db"].secrets, Some(SourceRequest::One("kv/prod/payments".into())));
    assert!(request.agent == Agent::Sidecar && request.notify.is_none() && request.containers.is_none());
}

#[test]
fn nothing_is_asked_for_without_the_word() {
    assert_eq!(Request::read([("coffer.dev/inject", "false"), ("coffer.dev/secret-a", "kv/a")]), Ok(None));
    assert_eq!(Request::read([("prometheus.io/scrape", "true")]), Ok(None));
    assert_eq!(Request::read([(STATUS, INJECTED)]), Ok(None));
    let forgotten = Request::read([("coffer.dev/secret-a", "kv/a")]).unwrap_err().to_string();
    assert!(forgotten.contains("nothing is injected without coffer.dev/inject"), "{forgotten}");
    assert!(Request::read([(INJECT, "yes")]).unwrap_err().to_string().contains("neither \"true\" nor \"false\""));
}

#[test]
fn each_annotation_about_a_pod_is_understood() {
    let request = read(&[
        ("secret-a", "kv/a"),
        ("status", "injected"),
        ("path", "/run/secrets/app"),
        ("mode", "0440"),
        ("owner", "1000:2000"),
        ("containers", "app, other"),
        ("notify-signal", "SIGHUP"),
        ("notify-process", "nginx"),
        ("notify-on-start", "true"),
        ("revoke-on-exit", "true"),
        ("requests-cpu", "1m"),
        ("requests-memory", ""),
        ("limits-cpu", "1"),
        ("limits-memory", "64Mi"),
        ("volume-size", "1Mi"),
        ("image", "agent:1"),
        ("vault-address", "https://v"),
        ("vault-server-name", "n"),
        ("ca-config-map", "c"),
        ("tenant", "t"),
        ("cluster", "prod"),
        ("log-level", "debug"),
        ("pin-images", "false"),
    ]);
    let request = request.unwrap().unwrap();
    assert!(request.is_injected && request.notify_on_start && request.revoke_on_exit);
    assert_eq!(request.owner, Some((1_000, Some(2_000))));
    assert_eq!(request.containers.unwrap(), BTreeSet::from(["app".to_owned(), "other".to_owned()]));
    assert_eq!(request.notify, Some(Notify::Signal { signal: "SIGHUP".into(), process: "nginx".into() }));
    assert_eq!(request.resources[&("requests", "memory")], "");
    assert_eq!((request.log_level.as_deref(), request.pin_images), (Some("debug"), Some(false)));
    assert_eq!(read(&[("secret-a", "kv/a"), ("init-only", "true")]).unwrap().unwrap().agent, Agent::Init);
    let http = read(&[("secret-a", "kv/a"), ("notify-http", "http://127.0.0.1:1/r")]).unwrap().unwrap();
    assert_eq!(http.notify, Some(Notify::Http("http://127.0.0.1:1/r".into())));
}

#[test]
fn each_annotation_about_a_file_is_understood() {
    let request = read(&[
        ("secret-conf", "db=kv/prod/db, api=kv/prod/api"),
        ("credential-conf", "user=database/creds/app"),
        ("template-conf", "{{ db.x }}"),
        ("file-conf", "app.conf"),
        ("mode-conf", "0444"),
        ("credential-tls.key", "pki/issue/web"),
        ("ttl-tls.key", "24h"),
        ("parameters-tls.key", "common_name=web.svc; alt_names=a,b"),
        ("field-tls.key", "private_key"),
        ("secret-old", "kv/a"),
        ("version-old", "3"),
        ("format-old", "dotenv"),
        ("secret-mapped", "kv/a"),
        ("template-config-map-mapped", "templates/app.j2"),
    ]);
    let files = request.unwrap().unwrap().files;
    let many = |paths: &[(&str, &str)]| SourceRequest::Many(paths.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect());
    assert_eq!(files["conf"].secrets, Some(many(&[("db", "kv/prod/db"), ("api", "kv/prod/api")])));
    assert_eq!(files["conf"].credentials, Some(many(&[("user", "database/creds/app")])));
    assert_eq!((files["conf"].file.as_deref(), files["conf"].mode.as_deref()), (Some("app.conf"), Some("0444")));
    assert_eq!(files["tls.key"].parameters.as_ref().unwrap()["alt_names"], "a,b");
    assert_eq!((files["tls.key"].ttl.as_deref(), files["tls.key"].field.as_deref()), (Some("24h"), Some("private_key")));
    assert_eq!((files["old"].version, files["old"].format.as_deref()), (Some(3), Some("dotenv")));
    assert_eq!(files["mapped"].template_config_map, Some(("templates".into(), "app.j2".into())));
}

#[test]
fn what_is_unknown_or_contradicts_itself_is_refused_by_name() {
    let a = ("secret-a", "kv/a");
    for (annotations, words) in [
        (vec![], "coffer.dev/inject: no secret is named"),
        (vec![a, ("secrt-b", "kv/b")], "coffer.dev/secrt-b: there is no such annotation"),
        (vec![a, ("secret-", "kv/b")], "coffer.dev/secret-: there is no such annotation"),
        (vec![a, ("path", " ")], "coffer.dev/path: it is empty"),
        (vec![a, ("secret-b", "")], "coffer.dev/secret-b: it names no path"),
        (vec![a, ("owner", "app")], "coffer.dev/owner: write UID or UID:GID"),
        (vec![a, ("containers", "app,,b")], "coffer.dev/containers: write the names"),
        (vec![a, ("init-only", "yes")], "coffer.dev/init-only: \"yes\" is neither"),
        (vec![a, ("format-b", "json")], "the file b: there is neither coffer.dev/secret-b nor coffer.dev/credential-b"),
        (vec![a, ("version-a", "0")], "coffer.dev/version-a: a version is a number from 1 on"),
        (vec![a, ("notify-signal", "SIGHUP")], "coffer.dev/notify-signal: coffer.dev/notify-process"),
        (vec![a, ("notify-process", "nginx")], "coffer.dev/notify-process: coffer.dev/notify-signal"),
        (vec![a, ("notify-on-start", "true")], "coffer.dev/notify-on-start: coffer.dev/notify-http"),
        (
            vec![a, ("notify-http", "http://127.0.0.1"), ("notify-signal", "SIGHUP"), ("notify-process", "x")],
            "coffer.dev/notify-http: the application is told by HTTP or by a signal",
        ),
        (
            vec![a, ("init-only", "true"), ("notify-http", "http://127.0.0.1")],
            "coffer.dev/init-only: nothing is done after the start",
        ),
        (vec![("credential-u", "database/creds/app"), ("init-only", "true")], "coffer.dev/init-only: nobody would renew"),
        (vec![("secret-a", "x=kv/a,y=kv/b")], "coffer.dev/secret-a: several are made into a file by a template"),
        (vec![("secret-a", "x=kv/a,kv/b"), ("template-a", "")], "coffer.dev/secret-a: write NAME=PATH, NAME=PATH"),
        (vec![("secret-a", "x=kv/a,x=kv/b"), ("template-a", "")], "coffer.dev/secret-a: x is there twice"),
        (vec![a, ("credential-a", "database/creds/app")], "coffer.dev/secret-a: beside a credential"),
        (vec![a, ("template-a", "x"), ("template-config-map-a", "m/k")], "coffer.dev/template-a: the template is here, or"),
        (vec![a, ("template-config-map-a", "m")], "coffer.dev/template-config-map-a: write CONFIGMAP/KEY"),
        (vec![("credential-a", "pki/issue/web"), ("parameters-a", "x")], "coffer.dev/parameters-a: write KEY=VALUE"),
    ] {
        let told = refusal(&annotations);
        assert!(told.contains(words), "{annotations:?}: {told}");
    }
}

#[test]
fn the_reference_in_docs_has_every_annotation_with_its_meaning() {
    let page = include_str!("../../../../docs/injector.md");
    let row = |name: String, about: &str| format!("| `{PREFIX}{name}` | {about} |");
    let of_pod = OF_POD.iter().map(|annotation| row(annotation.name.to_owned(), annotation.about));
    let of_files = OF_FILES.iter().map(|annotation| row(format!("{}NAME", annotation.name), annotation.about));
    for row in of_pod.chain(of_files) {
        assert!(page.contains(&row), "{row}");
    }
    assert_eq!(page.matches("| `coffer.dev/").count(), OF_POD.len() + OF_FILES.len(), "and no other");
}
