use coffer_core::principal::Principal;

use super::*;

#[test]
fn what_is_no_name_is_refused_and_never_repaired() {
    for good in ["web", "web.shop.svc", "*.shop.svc", "xn--bcher-kva.example", "a-b.c1", &format!("{}.a", "a".repeat(63))] {
        assert_eq!(parse(good).unwrap(), SubjectName::Dns(good.to_owned()));
    }
    for good in ["10.0.0.1", "::1", "2001:db8::7"] {
        assert!(matches!(parse(good).unwrap(), SubjectName::Ip(_)), "{good}");
    }
    for good in ["spiffe://shop.test/ns/prod/sa/web", "https://example.com", "urn-x://10.0.0.1/a_b~c"] {
        assert_eq!(parse(good).unwrap(), SubjectName::Uri(good.to_owned()));
    }
    let long = format!("{}.svc", ["a"; 140].join("."));
    for bad in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a.b",
        "a-.b",
        "Web.svc",
        "w_b.svc",
        "b\u{fc}cher.example",
        "*",
        "*.",
        "**.a",
        "a.*",
        "*.*.a",
        "w*b.svc",
        "a b",
        "a\0b",
        "a/b",
        "1.2.3",
        "0x7f.1",
        "127.1",
        "010.0.0.1",
        "10.0.0.1.",
        "[::1]",
        "a:80",
        "{namespace}.svc",
        &format!("{}.a", "a".repeat(64)),
        &long,
        "://a",
        "HTTPS://a",
        "https://A",
        "https://a/../b",
        "https://a/%2e",
        "https://a//b",
        "https://a/",
        "https://u@a",
        "https://a:80",
        "https://a?b",
        "https://a#b",
        "https://",
        "spiffe://a/b c",
        &format!("https://a/{}", "b".repeat(PKI_URI_BYTES_MAX)),
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!(check(&SubjectName::Dns("10.0.0.1".into())).is_err(), "an address as a host's name");
    assert!(check(&SubjectName::Dns("https://a".into())).is_err());
    assert!(check(&SubjectName::Uri("a.b".into())).is_err());
}

#[test]
fn a_name_has_as_many_bytes_as_the_limit_says() {
    let host = |bytes: usize| format!("{}a", "a.".repeat((bytes - 1) / 2));
    assert_eq!(host(PKI_NAME_BYTES_MAX - 2).len(), PKI_NAME_BYTES_MAX - 2);
    assert!(parse(&host(PKI_NAME_BYTES_MAX - 2)).is_ok());
    assert!(parse(&host(PKI_NAME_BYTES_MAX)).is_err());
    let uri = |bytes: usize| format!("https://a/{}", "b".repeat(bytes - 10));
    assert!(parse(&uri(PKI_URI_BYTES_MAX)).is_ok());
    assert!(parse(&uri(PKI_URI_BYTES_MAX + 1)).is_err());
}

#[test]
fn patterns_let_through_what_they_say_and_no_more() {
    for (pattern, host, wildcards, expected) in [
        ("web.svc", "web.svc", false, true),
        ("web.svc", "aweb.svc", false, false),
        ("web.svc", "a.web.svc", false, false),
        ("web.svc", "*.web.svc", true, false),
        ("*.svc", "web.svc", false, true),
        ("*.svc", "svc", false, false),
        ("*.svc", ".svc", false, false),
        ("*.svc", "a.web.svc", false, false),
        ("*.svc", "websvc", false, false),
        ("*.svc", "*.svc", false, false),
        ("*.svc", "*.svc", true, true),
        ("*.svc", "*.web.svc", true, false),
        ("**.svc", "web.svc", false, true),
        ("**.svc", "a.b.web.svc", false, true),
        ("**.svc", "svc", false, false),
        ("**.svc", "evilsvc", false, false),
        ("**.svc", "*.svc", true, true),
        ("**.svc", "*.a.svc", true, true),
        ("**.svc", "*.a.svc", false, false),
    ] {
        assert_eq!(host_matches(pattern, host, wildcards), expected, "{pattern} {host} {wildcards}");
    }
    for (pattern, uri, expected) in [
        ("https://a/b", "https://a/b", true),
        ("https://a/b", "https://a/b/c", false),
        ("https://a/**", "https://a/b/c", true),
        ("https://a/**", "https://a", false),
        ("https://a/**", "https://ab/c", false),
        ("https://a/b/**", "https://a/bc", false),
    ] {
        assert_eq!(uri_matches(pattern, uri), expected, "{pattern} {uri}");
    }
    for good in ["a", "*.a.b", "**.a", "{service_account}.{namespace}.svc", "*.{namespace}.svc"] {
        assert!(check_host_pattern(good).is_ok(), "{good}");
    }
    for bad in ["", "*", "**", "*.", "***.a", "a.*", "A", "{name}.svc", "{namespace", "10.0.0.1", "a.*.b"] {
        assert!(check_host_pattern(bad).is_err(), "{bad}");
    }
    for bad in ["https://*/a", "https://a/*", "https://a/**/b", "a", "https://{x}/b"] {
        assert!(check_uri_pattern(bad).is_err(), "{bad}");
    }
}

#[test]
fn ranges_contain_the_addresses_that_begin_alike() {
    for (range, address, expected) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.1.2.3", "10.1.2.3", true),
        ("10.1.2.3", "10.1.2.4", false),
        ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "1.2.3.4", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::ffff:0:0/96", "10.0.0.1", false),
    ] {
        assert_eq!(Range::parse(range).unwrap().contains(address.parse().unwrap()), expected, "{range} {address}");
    }
    for bad in ["", "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "10/8", "a/8"] {
        assert!(Range::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn only_a_workload_fills_a_pattern_in() {
    let principal: Principal = "k8s:prod/shop/api.v2".parse().unwrap();
    let workload = Workload::of(&principal);
    assert_eq!(filled("{service_account}.{namespace}.svc", workload).unwrap(), "api.v2.shop.svc");
    assert_eq!(filled("spiffe://t.test/{cluster}/ns/{namespace}", workload).unwrap(), "spiffe://t.test/prod/ns/shop");
    assert_eq!(filled("web.svc", None).unwrap(), "web.svc");
    assert!(filled("{namespace}.svc", None).is_none());
    assert!(filled("{unknown}.svc", workload).is_none());
}
