//! Short texts: URLs with their queries and selectors, times and quantities, join tokens.

use skein_kube::field_selector::FieldSelector;
use skein_kube::resource;
use skein_kube::selector::LabelSelector;
use skein_kube::{negotiate, time};
use skein_node::api::backend::TokenRole;
use skein_node::api::{paths, query};
use skein_node::daemon::token::JoinToken;
use skein_node::joining::Code;

use super::Target;

/// A path, an Accept and a query, a line each.
pub(super) struct Urls;

impl Target for Urls {
    fn name(&self) -> &'static str {
        "urls"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let texts = [
            "/api/v1/namespaces/default/pods/web/log\napplication/json;as=Table;v=v1;g=meta.k8s.io,application/json\ncontainer=a&tailLines=5&sinceTime=2026-01-01T00%3A00%3A00Z",
            "/apis/apps/v1/deployments\n*/*;q=0.5\nlabelSelector=a%20in%20(b,c),!d,e!=f&fieldSelector=metadata.name%3Dx,status.phase!=Running&limit=500",
            "/apis\napplication/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList\n",
            "/api/v1/namespaces/a/pods/b/portforward\n\nports=80&watch=1&timeoutSeconds=9",
        ];
        texts.map(|text| text.as_bytes().to_vec()).to_vec()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.splitn(3, '\n');
        let (path, accept, rest) =
            (lines.next().unwrap_or_default(), lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let route = paths::parse(path, accept).map_or_else(|status| status.message.clone(), |_| "a route".into());
        let forms = negotiate::parse_accept(accept).len().min(3);
        let fields = match query::Query::parse(Some(rest)) {
            Ok(query) => query
                .iter()
                .map(|(name, value)| match name {
                    "labelSelector" => {
                        LabelSelector::parse(value).map_or_else(|error| error.to_string(), |_| "labels".into())
                    }
                    "fieldSelector" => FieldSelector::parse(&resource::PODS, value)
                        .map_or_else(|error| error.to_string(), |_| "fields".into()),
                    "sinceTime" => format!("{}", time::parse_rfc3339(value).is_some()),
                    _ => String::new(),
                })
                .collect(),
            Err(status) => status.message.clone(),
        };
        format!("{route} {} {fields}", ["no form", "a form", "forms", "many forms"][forms])
    }
}

/// Join tokens.
pub(super) struct Tokens;

impl Target for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let peers = vec![(crate::cluster::id(0), vec![std::net::SocketAddr::from(([10, 0, 0, 1], 7311))])];
        let token =
            JoinToken { cluster: crate::cluster::cluster_id(), secret: [3; 16], role: TokenRole::Observer, peers };
        vec![token.to_string().into_bytes(), b"skein1-".to_vec()]
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let text = String::from_utf8_lossy(input);
        text.parse::<JoinToken>().map_or_else(|error| error.to_string(), |_| "a token".into())
    }
}

/// Codes that people type.
pub(super) struct Codes;

impl Target for Codes {
    fn name(&self) -> &'static str {
        "codes"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let code = Code::new(42, [0, 1, 254, 255]).to_string();
        vec![code.clone().into_bytes(), code.to_uppercase().replace('-', " ").into_bytes(), b"7".to_vec()]
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let text = String::from_utf8_lossy(input);
        match text.parse::<Code>() {
            // What is read must be the same code when it is written and read again.
            Ok(code) => {
                assert_eq!(code.to_string().parse(), Ok(code), "{text:?}");
                "a code".into()
            }
            Err(error) => error.to_string(),
        }
    }
}
