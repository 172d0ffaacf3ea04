use super::*;

const VAULT: VaultId = VaultId::from_bytes(*b"0123456789abcdef");
const OTHER: VaultId = VaultId::from_bytes(*b"0123456789abcdeg");

fn three_of_five(vault: &VaultId) -> (Key, ShareSet, Vec<Share>) {
    let secret = random::key().unwrap();
    let (set, shares) = ShareSet::split(vault, &secret, 3, 5).unwrap();
    (secret, set, shares)
}

fn copy(share: &Share) -> Share {
    Share::parse(share.text().expose()).unwrap()
}

#[test]
fn a_share_reads_what_it_writes() {
    let (secret, set, shares) = three_of_five(&VAULT);
    let copies: Vec<_> = shares.iter().map(copy).collect();
    for (share, index) in copies.iter().zip(1..) {
        assert_eq!((share.index(), share.threshold()), (index, 3));
        assert_eq!(share.text().len(), TEXT_CHARS);
        assert_eq!(set.check(share), Ok(()));
    }
    assert!(set.combine(&copies).unwrap().same(&secret));
    assert!(set.combine(&copies[2..]).unwrap().same(&secret));
}

#[test]
fn a_changed_character_is_damage() {
    let (_, _, shares) = three_of_five(&VAULT);
    let text = shares[0].text();
    let text = text.expose();
    for place in PREFIX.len()..TEXT_CHARS {
        for other in *b"0123456789abcdefgAF-\xff" {
            let mut bytes = text.as_bytes().to_vec();
            if bytes[place] == other {
                continue;
            }
            bytes[place] = other;
            let changed = String::from_utf8_lossy(&bytes);
            let expected = if matches!(other, b'0'..=b'9' | b'a'..=b'f') { ParseError::Checksum } else { ParseError::Form };
            assert_eq!(Share::parse(&changed).err(), Some(expected), "{place}");
        }
    }
    for length in PREFIX.len()..TEXT_CHARS {
        let cut = text.get(..length).unwrap();
        assert_eq!(Share::parse(cut).err(), Some(ParseError::Form), "cut to {length}");
    }
    assert_eq!(Share::parse(&format!("{text}0")).err(), Some(ParseError::Form));
    assert_eq!(Share::parse(&format!("{text} ")).err(), Some(ParseError::Form));
}

#[test]
fn what_does_not_begin_as_a_share_is_none() {
    let (_, _, shares) = three_of_five(&VAULT);
    let newer = shares[0].text().expose().replacen("-1-", "-2-", 1);
    for text in ["", "coffer-share-1", "hvs.abc", " coffer-share-1-00", "Coffer-share-1-00", &newer] {
        assert_eq!(Share::parse(text).err(), Some(ParseError::NotAShare), "{text}");
    }
}

#[test]
fn a_wrong_share_is_named_before_any_is_combined() {
    let (_, set, mut shares) = three_of_five(&VAULT);
    let (_, _, elsewhere) = three_of_five(&OTHER);
    let (_, _, older) = three_of_five(&VAULT);
    assert_eq!(set.check(&elsewhere[0]), Err(ShareError::OtherVault));
    assert_eq!(set.check(&older[0]), Err(ShareError::OtherSet));

    // Forged: it has the right names and checksum, and something else is not as it was given out.
    let forgeries: [fn(&mut Share); 6] = [
        |share| share.point.values.expose_mut()[31] ^= 1,
        |share| share.point.index = 3,
        |share| share.point.index = 0,
        |share| share.point.index = 6,
        |share| share.point.index = 255,
        |share| share.threshold = 2,
    ];
    for forge in forgeries {
        let mut forged = copy(&shares[0]);
        forge(&mut forged);
        let forged = copy(&forged);
        assert_eq!(set.check(&forged), Err(ShareError::Forged));
        let given = [copy(&shares[1]), forged, copy(&shares[2])];
        assert_eq!(set.combine(&given).err(), Some(CombineError::Share(1, ShareError::Forged)));
    }

    shares.truncate(2);
    assert_eq!(set.combine(&shares).err(), Some(CombineError::TooFew));
    shares.push(copy(&shares[0]));
    assert_eq!(set.combine(&shares).err(), Some(CombineError::Twice));
    assert_eq!(set.combine(&[]).err(), Some(CombineError::TooFew));
}

#[test]
fn what_comes_out_is_checked_too() {
    let (_, mut set, shares) = three_of_five(&VAULT);
    set.secret[0] ^= 1;
    assert_eq!(set.combine(&shares).err(), Some(CombineError::WrongSecret));
    // A lowered threshold does not open anything with fewer: the shares say 3.
    let (_, mut set, mut shares) = three_of_five(&VAULT);
    set.threshold = 2;
    shares.truncate(2);
    assert_eq!(set.combine(&shares).err(), Some(CombineError::Share(0, ShareError::Forged)));
}

#[test]
fn a_set_of_one_is_one() {
    let secret = random::key().unwrap();
    let (set, shares) = ShareSet::split(&VAULT, &secret, 1, 1).unwrap();
    assert_eq!((set.threshold(), set.count()), (1, 1));
    assert!(set.combine(&shares).unwrap().same(&secret));
    assert_eq!(ShareSet::split(&VAULT, &secret, 1, 2).err(), Some(SplitError::Numbers));
}

#[test]
fn debug_and_errors_show_no_share() {
    let (_, set, shares) = three_of_five(&VAULT);
    let digits = hex::encode(&shares[0].point.values.expose()[..4]);
    let shown = format!("{:?} {:?} {:?}", set, shares[0], set.combine(&shares[..1]).err());
    assert!(!shown.contains(&digits), "{shown}");
    assert!(shown.contains("ShareSet(3 of 5)"), "{shown}");
}
