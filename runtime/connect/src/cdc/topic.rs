//! Topic names made of a template.

use std::sync::Arc;

use super::error::{ChangeError, ConfigError};
use super::relation::Relation;

/// Longest name that Kafka takes.
const TOPIC_BYTES_MAX: usize = 249;

/// How the topic of a table is named: text with `{schema}` and `{table}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicTemplate(String);

impl TopicTemplate {
    pub(crate) fn new(template: &str) -> Result<Self, ConfigError> {
        let refused = |why| Err(ConfigError::Topic { template: template.to_owned(), why });
        let rest = template.replace("{schema}", "").replace("{table}", "");
        if template.is_empty() {
            return refused("it is empty");
        }
        if rest.contains(['{', '}']) {
            return refused("only {schema} and {table} are known");
        }
        if !rest.bytes().all(is_legal) {
            return refused("topic names have letters, digits, '.', '_' and '-' only");
        }
        Ok(Self(template.to_owned()))
    }

    /// Names the topic. A name that Kafka would refuse is an error and not mended: two tables could
    /// end up in one topic.
    pub(crate) fn topic(&self, relation: &Relation) -> Result<Arc<str>, ChangeError> {
        let topic = self.0.replace("{schema}", &relation.schema).replace("{table}", &relation.name);
        let legal = topic.len() <= TOPIC_BYTES_MAX
            && topic.bytes().all(is_legal)
            && topic != "."
            && topic != "..";
        if legal {
            Ok(topic.into())
        } else {
            Err(ChangeError::Topic { table: relation.full_name(), topic })
        }
    }
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::TopicTemplate;
    use crate::cdc::pgoutput::RelationBody;
    use crate::cdc::relation::Relation;

    #[test]
    fn a_topic_is_named_by_the_template_or_refused() {
        let relation = |schema: &str, name: &str| {
            Relation::new(RelationBody {
                oid: 1,
                schema: schema.to_owned(),
                name: name.to_owned(),
                replica_identity: b'd',
                columns: Vec::new(),
            })
        };
        let template = TopicTemplate::new("shop.{schema}.{table}").unwrap();
        assert_eq!(&*template.topic(&relation("public", "orders")).unwrap(), "shop.public.orders");
        assert!(template.topic(&relation("public", "order lines")).is_err());
        assert!(template.topic(&relation("public", &"x".repeat(250))).is_err());
        assert!(TopicTemplate::new("{database}.{table}").is_err());
        assert!(TopicTemplate::new("a b").is_err());
        assert!(TopicTemplate::new("").is_err());
    }
}
