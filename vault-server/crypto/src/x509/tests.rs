use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::{
    der::{Der, OCTET_STRING, OID, SEQUENCE, SET, constructed, context},
    *,
};

const KINDS: [KeyKind; 3] = [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519];

fn name(common_name: &str) -> DistinguishedName {
    DistinguishedName::new(&Subject { common_name: Some(common_name), ..Subject::default() })
}

fn root(key: &PrivateKey, subject: &DistinguishedName) -> Vec<u8> {
    CertificateFields {
        serial: Serial::random(2_000_000_000).unwrap(),
        issuer: subject,
        subject,
        not_before: 1_700_000_000,
        not_after: 2_000_000_000,
        key: key.public(),
        key_id: None,
        kind: Kind::Ca(Some(1)),
        names: &[],
        key_usages: key_usage_bits([KeyUsage::CertificateSign, KeyUsage::CrlSign]),
        extended: &[],
        authority: None,
        issuer_url: None,
        crl_url: None,
    }
    .sign(key)
    .unwrap()
}

#[test]
fn a_certificate_reads_as_it_was_written_and_holds_for_its_signer_alone() {
    for kind in KINDS {
        let (key, leaf_key) = (PrivateKey::generate(kind).unwrap(), PrivateKey::generate(KeyKind::P256).unwrap());
        let subject = DistinguishedName::new(&Subject {
            country: Some("DE"),
            organisation: Some("B\u{fc}cher"),
            common_name: Some("Root"),
        });
        let ca = ReadCertificate::read(&root(&key, &subject)).unwrap();
        assert!(ca.ca && ca.signs_crls && ca.is_self_issued());
        assert_eq!((ca.path_length, &ca.key, &ca.subject), (Some(1), key.public(), &subject));
        assert_eq!(ca.subject.text().unwrap(), "C=DE, O=B\u{fc}cher, CN=Root");
        ca.check_signed_by(key.public()).unwrap();
        assert_eq!(ca.check_signed_by(leaf_key.public()), Err(X509Error::Signature));

        let names = [
            SubjectName::Dns("web.shop.svc".into()),
            SubjectName::Ip("10.0.0.1".parse().unwrap()),
            SubjectName::Ip("2001:db8::1".parse().unwrap()),
            SubjectName::Uri("spiffe://shop.test/ns/a/sa/b".into()),
        ];
        let empty = DistinguishedName::new(&Subject::default());
        let fields = CertificateFields {
            serial: Serial::random(1_800_000_000).unwrap(),
            issuer: &ca.subject,
            subject: &empty,
            not_before: 1_700_000_000,
            not_after: 1_800_000_000,
            key: leaf_key.public(),
            key_id: None,
            kind: Kind::EndEntity,
            names: &names,
            key_usages: key_usage_bits([KeyUsage::DigitalSignature]),
            extended: ExtendedKeyUsage::ALL,
            authority: Some(&ca.key_id),
            issuer_url: Some("http://a.test/ca.crt"),
            crl_url: Some("http://a.test/ca.crl"),
        };
        let der = fields.sign(&key).unwrap();
        let leaf = ReadCertificate::read(&der).unwrap();
        assert_eq!(leaf.names, names);
        assert_eq!((leaf.not_before, leaf.not_after, leaf.ca), (1_700_000_000, 1_800_000_000, false));
        assert_eq!(leaf.serial, fields.serial.as_bytes());
        leaf.check_signed_by(key.public()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let san = parsed.subject_alternative_name().unwrap().unwrap();
        assert!(san.critical, "the subject is empty");
        let usage = parsed.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign() && !usage.key_encipherment());
        for length in 0..der.len() {
            assert!(ReadCertificate::read(&der[..length]).is_err(), "cut at {length}");
        }
        assert!(ReadCertificate::read(&[der.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn keys_are_stored_as_they_were_made() {
    for kind in KINDS {
        let key = PrivateKey::generate(kind).unwrap();
        let again = PrivateKey::from_pkcs8(key.pkcs8().duplicate()).unwrap();
        assert_eq!((again.kind(), again.public()), (kind, key.public()));
        let block = &blocks(key.pem().expose(), 1).unwrap()[0];
        assert!(block.label == "PRIVATE KEY" && block.content.same(key.pkcs8()));
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.pkcs8().expose()[10..20].to_vec())));
        let certificate = ReadCertificate::read(&root(&again, &name("a"))).unwrap();
        certificate.check_signed_by(key.public()).unwrap();
        let stored = PrivateKey::stored(key.pkcs8().duplicate(), key.public().clone()).unwrap();
        ReadCertificate::read(&root(&stored, &name("a"))).unwrap().check_signed_by(key.public()).unwrap();
    }
    assert_eq!(PrivateKey::generate(KeyKind::Rsa).err(), Some(X509Error::PrivateKey));
    for bad in [&b""[..], b"key", &[0x30; 100]] {
        assert_eq!(PrivateKey::from_pkcs8(coffer_secret::SecretBytes::copied_from(bad)).err(), Some(X509Error::PrivateKey));
    }
}

#[test]
fn a_number_tells_when_its_certificate_ends_and_nothing_else() {
    let serial = Serial::random(1_800_000_000).unwrap();
    assert_eq!(u64::from(serial.hour()), 1_800_000_000 / 3_600);
    assert_ne!(serial, Serial::random(1_800_000_000).unwrap());
    assert_eq!(serial.to_string().len(), 40);
    assert_eq!(serial.to_string().parse(), Ok(serial));
    let colons: Vec<_> = serial.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(colons.join(":").parse(), Ok(serial));
    for _ in 0..1_000 {
        let [first, ..] = *Serial::random(0).unwrap().as_bytes();
        assert!((0x40..0x80).contains(&first), "positive, and of twenty bytes");
    }
    for bad in ["", "00", &"f".repeat(40), &"0".repeat(40), &"4".repeat(41), "x"] {
        assert!(bad.parse::<Serial>().is_err(), "{bad}");
    }
}

/// A request with these extensions, signed by `signer`.
fn request(key: &PrivateKey, signer: &PrivateKey, extensions: impl Fn(&mut Der)) -> Vec<u8> {
    let info = Der::build(SEQUENCE, |der| {
        der.unsigned(&[0]);
        der.raw(name("web.shop.svc").der());
        der.raw(key.public().info());
        der.within(constructed(0), |der| {
            der.within(SEQUENCE, |der| {
                der.value(OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]);
                der.within(SET, |der| der.within(SEQUENCE, &extensions));
            });
        });
    });
    signer.seal(&info).unwrap()
}

fn wanted(der: &mut Der, number: u8, fill: impl FnOnce(&mut Der)) {
    der.within(SEQUENCE, |der| {
        der.value(OID, &[0x55, 0x1d, number]);
        der.within(OCTET_STRING, fill);
    });
}

#[test]
fn of_a_request_the_key_and_the_names_come_out_and_nothing_else() {
    for kind in KINDS {
        let (key, other) = (PrivateKey::generate(kind).unwrap(), PrivateKey::generate(kind).unwrap());
        let read = ReadRequest::read(&make_request(&name("a"), &key).unwrap()).unwrap();
        assert_eq!((&read.key, read.names.len(), read.asks_for_ca), (key.public(), 0, false));
        assert_eq!(read.common_names, ["a"]);
        let hosts = |der: &mut Der| {
            wanted(der, 17, |der| {
                der.within(SEQUENCE, |der| {
                    der.value(context(2), b"web.shop.svc");
                    der.value(context(7), &[10, 0, 0, 1]);
                });
            });
        };
        let read = ReadRequest::read(&request(&key, &key, hosts)).unwrap();
        assert_eq!(read.names, [SubjectName::Dns("web.shop.svc".into()), SubjectName::Ip("10.0.0.1".parse().unwrap())]);
        assert_eq!(ReadRequest::read(&request(&key, &other, hosts)), Err(X509Error::Signature), "another's key");

        let ca = ReadRequest::read(&request(&key, &key, |der| wanted(der, 19, |der| der.within(SEQUENCE, Der::yes)))).unwrap();
        assert!(ca.asks_for_ca);
        for (tag, value) in
            [(context(1), &b"a@b.c"[..]), (context(7), &[1, 2, 3]), (context(8), &[0x2a, 3]), (context(2), &[0xff])]
        {
            let odd = |der: &mut Der| wanted(der, 17, |der| der.within(SEQUENCE, |der| der.value(tag, value)));
            assert!(ReadRequest::read(&request(&key, &key, odd)).is_err(), "a name of the kind {tag:x}");
        }
        let broken = |der: &mut Der| wanted(der, 17, |der| der.raw(&[0x30, 0x7f]));
        assert!(ReadRequest::read(&request(&key, &key, broken)).is_err());

        // All that is signed: behind the tag and the length of the whole, and before algorithm and signature.
        let good = request(&key, &key, hosts);
        for at in 4..100 {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(ReadRequest::read(&changed).is_err(), "changed at {at}");
        }
    }
}

#[test]
fn requests_of_openssl_are_read_and_weak_ones_refused() {
    let read = |text: &str| ReadRequest::read(blocks(text, 1).unwrap()[0].content.expose());
    let rsa = read(include_str!("tests/rsa-2048.pem")).unwrap();
    assert_eq!(rsa.key.kind(), KeyKind::Rsa);
    let names: Vec<_> = rsa.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["web.shop.svc", "10.0.0.1", "https://a.b/c"]);
    assert_eq!(rsa.common_names, ["web.shop.svc"]);
    assert_eq!(read(include_str!("tests/rsa-pss.pem")).unwrap().key.kind(), KeyKind::Rsa);
    assert_eq!(read(include_str!("tests/rsa-1024.pem")), Err(X509Error::KeyWeak));
    assert_eq!(read(include_str!("tests/rsa-exponent-3.pem")), Err(X509Error::KeyWeak));
    assert_eq!(read(include_str!("tests/rsa-sha1.pem")), Err(X509Error::Signature));
    assert_eq!(read(include_str!("tests/secp256k1.pem")), Err(X509Error::KeyKind));
    assert!(matches!(read(include_str!("tests/mail-name.pem")), Err(X509Error::Malformed(_))));
}

#[test]
fn a_list_says_what_is_revoked_since_when_and_why() {
    for kind in KINDS {
        let (key, subject) = (PrivateKey::generate(kind).unwrap(), name("Root"));
        let ca = root(&key, &subject);
        let (_, ca) = X509Certificate::from_der(&ca).unwrap();
        let revoked = [
            Revoked { serial: Serial::random(1_800_000_000).unwrap(), at: 1_700_000_000, reason: 0 },
            Revoked { serial: Serial::random(1_800_000_000).unwrap(), at: 1_700_000_001, reason: 1 },
        ];
        for (revoked, part) in [(&revoked[..], None), (&[], None), (&revoked[..1], Some("http://a.test/1.crl"))] {
            let list = CrlFields {
                issuer: &subject,
                authority: &key.public().id(),
                number: 300,
                this_update: 1_700_000_100,
                next_update: 1_700_100_000,
                revoked,
                part,
            };
            let der = list.sign(&key).unwrap();
            let (rest, read) = CertificateRevocationList::from_der(&der).unwrap();
            assert!(rest.is_empty());
            read.verify_signature(ca.public_key()).unwrap();
            assert_eq!(read.crl_number().unwrap().to_string(), "300");
            let entries: Vec<_> = read.iter_revoked_certificates().collect();
            assert_eq!(entries.len(), revoked.len());
            for (entry, revoked) in entries.iter().zip(revoked) {
                assert_eq!(entry.raw_serial(), revoked.serial.as_bytes());
                assert_eq!(entry.revocation_date.timestamp(), i64::try_from(revoked.at).unwrap());
                assert_eq!(entry.reason_code().map_or(0, |(_, reason)| reason.0), revoked.reason);
            }
        }
    }
}
