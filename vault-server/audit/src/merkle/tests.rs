//! Vectors: the tree of eight leaves of the certificate-transparency reference implementation
//! (`merkletree/merkle_tree_test.cc`; the same in `testonly/constants.go` of transparency-dev/merkle).

use proptest::prelude::*;

use super::*;

const LEAVES: [&str; 8] = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/// Leaf, size of the tree, proof.
const INCLUSIONS: [(u64, u64, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];
/// Old size, new size, proof.
const CONSISTENCIES: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn hash(digits: &str) -> Hash {
    Hash::from_bytes(hex::decode(digits).unwrap().try_into().unwrap())
}

fn reference_leaves() -> Vec<Hash> {
    LEAVES.iter().map(|leaf| Hash::of_leaf(&hex::decode(leaf).unwrap())).collect()
}

fn numbered_leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| Hash::of_leaf(&index.to_be_bytes())).collect()
}

fn tree(leaves: &[Hash]) -> Tree {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

fn prove(ranges: Option<Vec<Range<u64>>>, leaves: &[Hash]) -> Vec<Hash> {
    let mut roots = RangeRoots::new(ranges.unwrap());
    (0..).zip(leaves).for_each(|(index, leaf)| roots.leaf(index, *leaf));
    roots.finish().unwrap()
}

#[test]
fn roots_are_those_of_the_reference_tree() {
    let leaves = reference_leaves();
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(tree(&leaves[..size]).root(), hash(root), "{size}");
    }
}

#[test]
fn inclusion_proofs_are_those_of_the_reference_tree() {
    let leaves = reference_leaves();
    for (index, size, proof) in INCLUSIONS {
        let (at, root) = (usize::try_from(index).unwrap(), hash(ROOTS[usize::try_from(size).unwrap()]));
        let proof: Vec<_> = proof.iter().map(|digits| hash(digits)).collect();
        assert_eq!(prove(inclusion_ranges(index, size), &leaves), proof, "{index} in {size}");
        assert!(verify_inclusion(&leaves[at], index, size, &proof, &root));
    }
}

#[test]
fn consistency_proofs_are_those_of_the_reference_tree() {
    let leaves = reference_leaves();
    let root = |size: u64| hash(ROOTS[usize::try_from(size).unwrap()]);
    for (old, new, proof) in CONSISTENCIES {
        let proof: Vec<_> = proof.iter().map(|digits| hash(digits)).collect();
        assert_eq!(prove(consistency_ranges(old, new), &leaves), proof, "{old} to {new}");
        assert!(verify_consistency((old, &root(old)), (new, &root(new)), &proof));
    }
}

#[test]
fn what_is_not_in_a_tree_has_no_proof() {
    assert_eq!(inclusion_ranges(0, 0), None);
    assert_eq!(inclusion_ranges(8, 8), None);
    assert_eq!(consistency_ranges(9, 8), None);
    assert_eq!(consistency_ranges(0, 8), Some(vec![]));
    let roots = RangeRoots::new(inclusion_ranges(0, 2).unwrap());
    assert_eq!(roots.finish(), None, "leaf 1 was never seen");
}

#[test]
fn every_proof_of_every_small_tree_verifies_and_for_nothing_else() {
    let leaves = numbered_leaves(33);
    let roots: Vec<_> = (0..=leaves.len()).map(|size| tree(&leaves[..size]).root()).collect();
    for size in 1..=leaves.len() {
        let wide = size as u64;
        for index in 0..size {
            let proof = prove(inclusion_ranges(index as u64, wide), &leaves);
            assert!(verify_inclusion(&leaves[index], index as u64, wide, &proof, &roots[size]));
            assert!(!verify_inclusion(&leaves[index], index as u64, wide, &proof, &roots[size - 1]));
            for other in (0..size).filter(|other| *other != index) {
                assert!(!verify_inclusion(&leaves[index], other as u64, wide, &proof, &roots[size]), "{index} {other} {size}");
            }
            let longer = [proof.as_slice(), &[roots[0]]].concat();
            assert!(!verify_inclusion(&leaves[index], index as u64, wide, &longer, &roots[size]));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!verify_inclusion(&leaves[index], index as u64, wide, shorter, &roots[size]));
            }
        }
        for old in 1..size {
            let proof = prove(consistency_ranges(old as u64, wide), &leaves);
            let verify = |from, to, proof: &[Hash]| verify_consistency((old as u64, from), (wide, to), proof);
            assert!(verify(&roots[old], &roots[size], &proof), "{old} to {size}");
            assert!(!verify(&roots[old - 1], &roots[size], &proof));
            assert!(!verify(&roots[old], &roots[old], &proof));
            assert!(!verify(&roots[old], &roots[size], &proof[1..]));
            assert!(!verify(&roots[old], &roots[size], &[proof.as_slice(), &[roots[0]]].concat()));
        }
    }
}

#[test]
fn hashes_read_what_they_write_and_nothing_else() {
    let hash = Hash::of_leaf(b"");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    for text in ["", "AAAA", &format!("{hash} "), &hash.to_string().replace('=', "")] {
        assert_eq!(text.parse::<Hash>(), Err(HashError), "{text}");
    }
}

proptest! {
    #[test]
    fn no_changed_proof_verifies(size in 2_u64..300, pick in any::<u64>(), part in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let leaves = numbered_leaves(size);
        let index = pick % size;
        let root = tree(&leaves).root();
        let mut proof = prove(inclusion_ranges(index, size), &leaves);
        let part = part.index(proof.len());
        proof[part].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify_inclusion(&leaves[usize::try_from(index).unwrap()], index, size, &proof, &root));
    }
}
