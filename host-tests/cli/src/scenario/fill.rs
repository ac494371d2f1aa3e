//! Fills types from the tree of a YAML text.
//!
//! A scalar without quotes is text where text is wanted, whatever it looks like: a header's value may be `2`. A variant
//! whose fields all have defaults may be written as its name alone.

use serde::Deserializer as _;
use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::yaml::{Node, Value};

/// Why a type can't be filled.
#[derive(Debug)]
pub(super) struct FillError(pub(super) String);

impl std::fmt::Display for FillError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for FillError {}

impl de::Error for FillError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Hands out a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filler<'a>(pub(super) &'a Node);

impl<'de> de::Deserializer<'de> for Filler<'_> {
    type Error = FillError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FillError> {
        match &self.0.value {
            _ if self.0.is_null() => visitor.visit_unit(),
            Value::Scalar(text, true) => {
                if let Ok(number) = text.parse::<u64>() {
                    visitor.visit_u64(number)
                } else if let Ok(number) = text.parse::<i64>() {
                    visitor.visit_i64(number)
                } else if let Some(number) = float(text) {
                    visitor.visit_f64(number)
                } else {
                    match text.as_str() {
                        "true" | "True" | "TRUE" => visitor.visit_bool(true),
                        "false" | "False" | "FALSE" => visitor.visit_bool(false),
                        _ => visitor.visit_str(text),
                    }
                }
            }
            Value::Scalar(text, false) => visitor.visit_str(text),
            Value::Sequence(values) => visitor.visit_seq(Values(values.iter())),
            Value::Mapping(fields) => visitor.visit_map(Fields {
                fields: fields.iter(),
                value: None,
            }),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FillError> {
        match &self.0.value {
            Value::Scalar(text, _) if !self.0.is_null() => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FillError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FillError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FillError> {
        if self.0.is_null() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FillError> {
        visitor.visit_newtype_struct(self)
    }

    /// A field without anything behind it is one without fields: `request:`.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FillError> {
        if self.0.is_null() {
            return visitor.visit_map(no_fields());
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FillError> {
        match &self.0.value {
            Value::Scalar(name, _) if !self.0.is_null() => {
                visitor.visit_enum(Choice { name, value: None })
            }
            Value::Mapping(fields) => match fields.as_slice() {
                [(key, value)] => visitor.visit_enum(Choice {
                    name: &key.text,
                    value: Some(value),
                }),
                _ => Err(FillError(format!(
                    "expected one name with what belongs to it, got {} of them",
                    fields.len()
                ))),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map ignored_any
    }
}

/// Reads what YAML calls a float; the words for infinity and no number too, so that whoever wants a number can refuse them.
fn float(text: &str) -> Option<f64> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    // Rust also reads the words `inf` and `nan`, which YAML doesn't.
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        .then(|| text.parse().ok())
        .flatten()
}

fn no_fields<'de>() -> MapDeserializer<'de, std::iter::Empty<(&'de str, &'de str)>, FillError> {
    MapDeserializer::new(std::iter::empty())
}

struct Values<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Values<'_> {
    type Error = FillError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FillError> {
        self.0
            .next()
            .map(|node| seed.deserialize(Filler(node)))
            .transpose()
    }
}

struct Fields<'a> {
    fields: std::slice::Iter<'a, (super::yaml::Key, Node)>,
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = FillError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FillError> {
        let Some((key, value)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let key: StrDeserializer<'_, FillError> = key.text.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FillError> {
        match self.value.take() {
            Some(value) => seed.deserialize(Filler(value)),
            None => Err(FillError("a value before its key".to_owned())),
        }
    }
}

/// One of several: a name alone, or with what belongs to it.
struct Choice<'a> {
    name: &'a str,
    value: Option<&'a Node>,
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = FillError;
    type Variant = Belonging<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), FillError> {
        let name: StrDeserializer<'_, FillError> = self.name.into_deserializer();
        let belonging = Belonging {
            name: self.name,
            value: self.value,
        };
        Ok((seed.deserialize(name)?, belonging))
    }
}

/// What belongs to the name.
struct Belonging<'a> {
    name: &'a str,
    value: Option<&'a Node>,
}

impl<'de> VariantAccess<'de> for Belonging<'_> {
    type Error = FillError;

    fn unit_variant(self) -> Result<(), FillError> {
        match self.value {
            None => Ok(()),
            Some(node) if node.is_null() => Ok(()),
            Some(Node {
                value: Value::Mapping(fields),
                ..
            }) if fields.is_empty() => Ok(()),
            Some(_) => Err(FillError(format!(
                "`{}` has nothing behind it; write the name alone",
                self.name
            ))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, FillError> {
        match self.value {
            Some(node) => seed.deserialize(Filler(node)),
            None => Err(FillError(format!(
                "`{0}` needs something behind it; write `{0}: …`",
                self.name
            ))),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, FillError> {
        match self.value {
            Some(node) => Filler(node).deserialize_any(visitor),
            None => self.unit_variant().and_then(|()| visitor.visit_unit()),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FillError> {
        match self.value {
            Some(node) => Filler(node).deserialize_struct("", fields, visitor),
            None => visitor.visit_map(no_fields()),
        }
    }
}
