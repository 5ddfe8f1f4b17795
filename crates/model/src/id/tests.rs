use super::*;
use alloc::format;

#[test]
fn a_node_id_survives_its_text() {
    let id = NodeId { launch: LaunchId(12), index: 3 };
    assert_eq!(format!("{id}"), "12.3");
    assert_eq!("12.3".parse(), Ok(id));
    assert!("12".parse::<NodeId>().is_err());
    assert_eq!(serde_json::to_string(&id).expect("json"), "\"12.3\"");
}

#[test]
fn a_blob_hash_is_64_hexadecimal_digits() {
    let hash = BlobHash([0xab; 32]);
    assert_eq!(format!("{hash}").parse(), Ok(hash));
    assert!("ab".parse::<BlobHash>().is_err());
    assert!(format!("{hash}").replace('a', "é").parse::<BlobHash>().is_err());
}
