//! What holds for every text: reading it never fails otherwise than by saying so, and what was read reads back.
#![allow(missing_docs)]

use outrigger_config::document::{Document, parse};
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select};

const SHOP: &str = include_str!("fixtures/good/shop.yaml");

/// Pieces that YAML gives a meaning, and words that the documents know: more likely than chance to reach far.
fn piece() -> impl Strategy<Value = String> {
    let syntax = [
        "\n", " ", "  ", "- ", ": ", ",", "[", "]", "{", "}", "\"", "'", "#", "|", ">", "&a ", "*a", "!", "---\n", "%",
        "? ", "\t", "\\", "\u{feff}", "\u{85}", "\u{0}", "null", "1e999", "0x", "-.5", "~",
    ];
    let words = ["kind", "spec", "metadata", "Service", "rules", "port", "name", "HTTPRoute", "80", "apiVersion"];
    prop_oneof![
        4 => select(syntax.to_vec()).prop_map(str::to_owned),
        3 => select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ]
}

/// The shop's text with a few pieces exchanged or thrown in.
fn damaged_shop() -> impl Strategy<Value = String> {
    vec((any::<Index>(), 0_usize..12, piece()), 1..6).prop_map(|damages| {
        let mut text: Vec<char> = SHOP.chars().collect();
        for (place, length, piece) in damages {
            let start = place.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

/// Reads and, where that goes, translates; all that must not panic.
fn try_everything(text: &str) {
    let Ok((mesh, _)) = parse(text, "any.yaml").and_then(Mesh::try_new) else { return };
    for namespace in mesh.namespaces() {
        mesh.shared(namespace);
    }
    mesh.workloads().for_each(|workload| drop(mesh.own(workload)));
}

fn shop() -> Vec<Document> {
    parse(SHOP, "shop.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_documents_json_reads_as_the_same_document() {
    for document in shop() {
        let json = serde_json::to_string_pretty(document.json()).expect("JSON");
        let again = parse(&json, "again.json").unwrap_or_else(|problems| panic!("{problems}\n{json}"));
        assert_eq!(again, std::slice::from_ref(&document));
        assert_eq!(again[0].spec(), document.spec());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_reading_panic(pieces in vec(piece(), 0..60)) {
        try_everything(&pieces.concat());
    }

    #[test]
    fn no_damage_makes_reading_panic(text in damaged_shop()) {
        try_everything(&text);
    }

    #[test]
    fn any_annotation_survives_as_json(
        key in prop_oneof![any::<String>(), Just("~".to_owned()), Just("1".to_owned())],
        value in any::<String>(),
    ) {
        let json = serde_json::json!({
            "apiVersion": "outrigger.dev/v1alpha1",
            "kind": "Service",
            "metadata": {"name": "web", "annotations": {key: value}},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        });
        let documents = parse(&json.to_string(), "web.json").unwrap_or_else(|problems| panic!("{problems}"));
        prop_assert_eq!(documents[0].json(), &json);
    }

    #[test]
    fn the_order_of_documents_changes_nothing(order in Just((0..shop().len()).collect::<Vec<_>>()).prop_shuffle()) {
        let documents = shop();
        let shuffled = order.into_iter().map(|index| documents[index].clone()).collect();
        let (one, other) = (Mesh::try_new(documents).expect("valid").0, Mesh::try_new(shuffled).expect("valid").0);
        prop_assert_eq!(one.shared("shop"), other.shared("shop"));
        let workload = ObjectName::parse("shop/storefront-1").expect("valid");
        prop_assert_eq!(one.own(&workload), other.own(&workload));
    }
}
