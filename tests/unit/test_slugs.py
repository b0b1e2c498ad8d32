"""Names of users' objects are KubeSpawner's to the letter: users' volumes are called so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubespawner import slugs as theirs
from kubespawner.slugs import is_valid_label

from perijove.domain import slugs
from perijove.plugins.kube_claims import decoded

# Control characters are in nobody's name (`domain.names`).
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=80),
    st.from_regex(r"[A-Za-z0-9@._-]{1,70}", fullmatch=True),
    st.from_regex(r"[a-z0-9-]{60,66}", fullmatch=True),
)


@given(NAMES)
def test_one_name(name):
    assert slugs.escaped(name) == theirs.escape_slug(name)
    assert slugs.safe(name) == theirs.safe_slug(name)
    assert slugs.safe(name, 48) == theirs.safe_slug(name, max_length=48)
    assert slugs.safe_label(name) == theirs.safe_slug(name, is_valid=is_valid_label)
    assert slugs.is_label(name) == is_valid_label(name)


@given(NAMES, NAMES)
def test_user_and_server(user, server):
    assert slugs.joined(user, server) == theirs.multi_slug([user, server], max_length=48)


@given(NAMES)
def test_a_name_of_the_old_scheme_is_read_back_or_not_at_all(name):
    assert decoded(f"claim-{slugs.escaped(name)}") in (name, "")


@pytest.mark.parametrize(
    ("claim", "user"),
    [
        ("claim-miksch-40win-2edtu-2edk", "miksch@win.dtu.dk"),
        ("claim-ann", "ann"),
        ("claim-miksch-win-dtu-dk---5ec1e680", ""),
        ("claim-ann--gpu", ""),
        ("claim-a-zz", ""),
        ("hub-db-dir", ""),
    ],
)
def test_whose_a_claim_is_by_its_name(claim, user):
    assert decoded(claim) == user
