//! Bytes that no server would send must never bring the decoder down.

use proptest::prelude::*;

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        tidegate_postgres::pgoutput::probe(&bytes);
    }

    #[test]
    fn random_bytes_after_a_known_tag_never_panic(tag in "[BCORYIUDTMSEcA]", bytes in prop::collection::vec(0u8..5, 0..200)) {
        let message = [tag.as_bytes(), &bytes[..]].concat();
        tidegate_postgres::pgoutput::probe(&message);
    }

    #[test]
    fn damaged_inserts_never_panic(at in 0usize..40, with in any::<u8>()) {
        let mut message = b"I\0\0\0\x07N\0\x03b\0\0\0\x04abcdnt\0\0\0\x02xy".to_vec();
        if let Some(byte) = message.get_mut(at) {
            *byte = with;
        }
        tidegate_postgres::pgoutput::probe(&message);
    }
}

#[test]
fn the_undamaged_insert_is_well_formed() {
    assert!(tidegate_postgres::pgoutput::probe(b"I\0\0\0\x07N\0\x03b\0\0\0\x04abcdnt\0\0\0\x02xy"));
}
