//! Index plus cache answer as plain Cedar does, on random worlds.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::*;

const CASES: usize = 100_000;
const CASES_PER_WORLD: usize = 500;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn name(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

// Names of one kind are beginnings of each other, and names of several kinds are the same.
const CLUSTERS: &[&str] = &["a", "aa", "prod"];
const NAMESPACES: &[&str] = &["a", "aa", "prod"];
const ACCOUNTS: &[&str] = &["a", "aa", "a.a"];
const OPERATORS: &[&str] = &["a", "aa", "admin", "prod"];
const ROLES: &[&str] = &["admin", "officer", "auditor"];
const MOUNTS: &[&str] = &["kv", "kv2"];
const SEGMENTS: &[&str] = &["a", "aa", "a a", "kv", "\u{e9}\""];
const ACTIONS: &[&str] = &["read", "list", "write", "delete", "destroy"];

fn some_path(random: &mut Random) -> String {
    let mut path = (*random.pick(MOUNTS)).to_owned();
    for _ in 0..random.below(4) {
        path = format!("{path}/{}", random.pick(SEGMENTS));
    }
    path
}

fn some_grant(random: &mut Random) -> Grant {
    let principal = match random.below(5) {
        0 => format!("k8s:{}/*/*", random.pick(CLUSTERS)),
        1 => format!("k8s:{}/{}/*", random.pick(CLUSTERS), random.pick(NAMESPACES)),
        2 => format!("k8s:{}/{}/{}", random.pick(CLUSTERS), random.pick(NAMESPACES), random.pick(ACCOUNTS)),
        3 => format!("operator:{}", random.pick(OPERATORS)),
        _ => format!("role:{}", random.pick(ROLES)),
    };
    let path = some_path(random) + if random.one_in(2) { "/**" } else { "" };
    let actions = (0..=random.below(3)).map(|_| random.pick(ACTIONS).parse().unwrap()).collect();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random.next().to_be_bytes());
    let (path, principal) = (path.parse().unwrap(), principal.parse().unwrap());
    Grant { id: GrantId::from_bytes(id), actions, path, principal, require: some_requirement(random) }
}

fn some_text(random: &mut Random) -> String {
    let literal = |kind: &str, id: &str| format!("{kind}::{id:?}");
    let workload = format!("{}/{}/{}", random.pick(CLUSTERS), random.pick(NAMESPACES), random.pick(ACCOUNTS));
    let namespace = workload.rsplit_once('/').unwrap().0;
    let principal = match random.below(9) {
        0 | 1 => "principal".to_owned(),
        2 => "principal is Workload".to_owned(),
        3 => "principal is Operator".to_owned(),
        4 => format!("principal == {}", literal("Workload", &workload)),
        5 => format!("principal in {}", literal("Namespace", namespace)),
        6 => format!("principal is Workload in {}", literal("Cluster", random.name(CLUSTERS))),
        7 => format!("principal == {}", literal("Operator", random.name(OPERATORS))),
        _ => format!("principal in {}", literal("Role", random.name(ROLES))),
    };
    let action = match random.below(3) {
        0 => "action".to_owned(),
        1 => format!("action == Action::\"{}\"", random.pick(ACTIONS)),
        _ => format!("action in [Action::\"{}\", Action::\"{}\"]", random.pick(ACTIONS), random.pick(ACTIONS)),
    };
    let path = some_path(random).replace('"', "\\\"");
    let resource = match random.below(6) {
        0 => "resource".to_owned(),
        1 => "resource is Path".to_owned(),
        2 => format!("resource == Path::\"{path}\""),
        3 => format!("resource in Path::\"{path}\""),
        4 => format!("resource is Path in Folder::\"{path}\""),
        _ => format!("resource in Folder::\"{path}\""),
    };
    let condition = match random.below(20) {
        0..4 => String::new(),
        16 => "when { context.image.pinned && context.image.signed_by.contains(\"build\") }".to_owned(),
        17 => "unless { context.workload.level == PodSecurity::\"restricted\" }".to_owned(),
        18 => "when { context.host.swap != Switch::\"on\" }".to_owned(),
        19 => format!("when {{ context.image.scanned > {} }}", random.below(1_100)),
        4 => "when { context.image.verdict == ImageVerdict::\"passed\" }".to_owned(),
        5 => "unless { context.host.posture == HostPosture::\"passed\" }".to_owned(),
        6 => format!("when {{ context.now > {} }}", 1_000 + random.below(100)),
        7 => format!("unless {{ context[\"now\"] > {} }}", 1_000 + random.below(100)),
        8 => "when { context.pod.known && context.pod.node like \"n*1\" }".to_owned(),
        9 => "when { context.seal == \"shamir\" }".to_owned(),
        10 => format!("when {{ principal in Cluster::\"{}\" }}", random.pick(CLUSTERS)),
        11 => format!("unless {{ resource in Path::\"{path}\" || context.pod.name == \"x\" }}"),
        12 => "when { context has pod && context.pod.uid != \"unknown\" }".to_owned(),
        // Fails for some times only.
        _ => format!("when {{ context.now + {} > 0 }}", i64::MAX - 1_050),
    };
    let effect = if random.one_in(3) { "forbid" } else { "permit" };
    format!("{effect} ({principal}, {action}, {resource}) {condition};")
}

fn some_caller(random: &mut Random) -> Caller {
    match random.below(16) {
        0 => caller("bootstrap"),
        1..8 => {
            let text = format!("operator:{}", random.pick(OPERATORS));
            let roles = (0..random.below(3)).map(|_| random.pick(ROLES).parse().unwrap()).collect();
            Caller { roles, ..caller(&text) }
        }
        _ => caller(&format!("k8s:{}/{}/{}", random.pick(CLUSTERS), random.pick(NAMESPACES), random.pick(ACCOUNTS))),
    }
}

fn some_image(random: &mut Random) -> ImageFacts {
    let signers = ["release", "build"].iter().filter(|_| random.one_in(2)).map(|signer| (*signer).to_owned()).collect();
    ImageFacts {
        verdict: *random.pick(&[ImageVerdict::Unknown, ImageVerdict::Passed, ImageVerdict::Failed]),
        pinned: random.one_in(2),
        signers,
        scanned: (!random.one_in(3)).then(|| Timestamp::from_secs(random.next() % 1_100)),
        until: None,
    }
}

fn some_host(random: &mut Random) -> Option<HostFacts> {
    let posture = *random.pick(&[HostPosture::Unknown, HostPosture::Passed, HostPosture::Failed]);
    let swap = *random.pick(&[Switch::Unknown, Switch::Off, Switch::On]);
    if random.one_in(4) { None } else { host(posture, swap) }
}

fn some_requirement(random: &mut Random) -> Requirement {
    if random.one_in(2) {
        return Requirement::default();
    }
    let all = ["image=pass", "signed-by=release", "host=pass", "swap=off", "workload=baseline", "max-age=50s"];
    let mut words: Vec<_> = all.iter().copied().filter(|_| random.one_in(3)).collect();
    if words.contains(&"max-age=50s") && !words.contains(&"signed-by=release") {
        words.retain(|word| *word != "image=pass");
        words.push("image=pass");
    }
    words.join(",").parse().unwrap()
}

fn some_context(random: &mut Random) -> Context {
    let text = |random: &mut Random, of: &[&str]| (*random.pick(of)).to_owned();
    let pod = random.one_in(2).then(|| PodFacts {
        name: text(random, &["x", "unknown"]),
        uid: text(random, &["u1", "u2", "unknown"]),
        node: text(random, &["n1", "n2"]),
        service_account_uid: text(random, &["s"]),
    });
    let now = Timestamp::from_secs(1_000).plus(Duration::from_millis(random.next() % 100_000));
    Context {
        now,
        tenant: "default".to_owned(),
        seal: text(random, &["shamir", "static-key"]),
        pod,
        image: some_image(random),
        host: some_host(random),
        workload: *random.pick(&[PodSecurity::Unknown, PodSecurity::Privileged, PodSecurity::Baseline, PodSecurity::Restricted]),
        until: random.one_in(2).then(|| now.plus(Duration::from_secs(random.next() % 10))),
    }
}

fn some_world(random: &mut Random) -> Policies {
    let grants: Vec<_> = (0..random.below(40)).map(|_| some_grant(random)).collect();
    let texts: Vec<_> = (0..random.below(10)).map(|_| some_text(random)).collect();
    // A text that can never apply is refused, and some of these cannot.
    let usable = texts.iter().filter(|text| Policies::lint(text).iter().all(|finding| !finding.error));
    let named = usable.enumerate().map(|(n, text)| (format!("p{n}").parse().unwrap(), text.clone()));
    Policies::compile(1, grants, named).unwrap()
}

#[derive(Debug, Default)]
struct Seen {
    permitted: usize,
    forbidden: usize,
    failed: usize,
    silent: usize,
    from_cache: usize,
}

#[test]
fn index_and_cache_answer_as_plain_cedar_does() {
    let seed = option_env!("COFFER_SEED").map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().unwrap());
    println!("COFFER_SEED={seed}");
    let mut random = Random(seed);
    let mut seen = Seen::default();
    for world in 0..CASES / CASES_PER_WORLD {
        let mut policies = some_world(&mut random);
        // Few callers, paths and contexts, so that questions come again.
        let callers: Vec<_> = (0..4).map(|_| some_caller(&mut random)).collect();
        let resources: Vec<_> = (0..4).map(|n| if n == 0 { Resource::System } else { path(&some_path(&mut random)) }).collect();
        let contexts: Vec<_> = (0..3).map(|_| some_context(&mut random)).collect();
        for case in 0..CASES_PER_WORLD {
            if random.one_in(200) {
                policies = policies.with_grant(2, some_grant(&mut random)).unwrap();
            } else if random.one_in(200) {
                let id = policies.grants().map(|grant| grant.id).max();
                policies = id.map(|id| policies.without_grant(3, &id)).unwrap_or(policies);
            }
            let mut context = random.pick(&contexts).clone();
            context.now = some_context(&mut random).now;
            let actions = if random.one_in(4) { Action::ALL } else { &Action::ALL[..ACTIONS.len()] };
            let action = *random.pick(actions);
            let query = Query { caller: random.pick(&callers), action, resource: random.pick(&resources), context: &context };
            seen.from_cache += usize::from(policies.cache.get(&crate::policy::cache::Key::of(&query), context.now).is_some());
            let (fast, plain) = (policies.decide(&query), policies.decide_plain(&query));
            assert_eq!(fast, plain, "COFFER_SEED={seed}, world {world}, case {case}: {query:#?}");
            let failed = || !policies.ask_candidates(&query).failed.is_empty();
            match (plain.permitted, plain.rules.is_empty()) {
                (true, _) => seen.permitted += 1,
                (false, true) => seen.silent += 1,
                (false, false) if failed() => seen.failed += 1,
                (false, false) => seen.forbidden += 1,
            }
        }
    }
    println!("{seen:?}");
    let least = [seen.permitted, seen.forbidden, seen.failed, seen.silent, seen.from_cache].into_iter().min();
    assert!(least > Some(CASES / 500), "the worlds are too one-sided to show anything: {seen:?}");
}
