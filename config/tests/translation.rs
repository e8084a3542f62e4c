//! From documents to the resources that proxies are sent.
#![allow(missing_docs)]

use outrigger_config::document::parse;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;

const SHOP: &str = include_str!("fixtures/good/shop.yaml");

fn mesh(text: &str) -> Mesh {
    let documents = parse(text, "shop.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    Mesh::try_new(documents).unwrap_or_else(|problems| panic!("{problems}")).0
}

#[test]
fn the_shop_is_translated_as_it_was_before() {
    let mesh = mesh(SHOP);
    insta::assert_debug_snapshot!("shop_shared", mesh.shared("shop"));
    for workload in ["shop/storefront-1", "shop/recommend-1"] {
        let name = ObjectName::parse(workload).expect("valid");
        insta::assert_debug_snapshot!(workload.replace('/', "_"), mesh.own(&name));
    }
}
