"""The routes of one instance: its record, its changes, its verbs and its family."""

from api.serving import ONE, PREFIX, ids, problem_of


async def test_one_instance_is_answered_with_its_tag_and_not_again_to_who_has_it(api, tree):
    answer = await api.get(f"{ONE}/web")
    tag = answer.headers["ETag"]
    assert answer.json()["id"] == "web"
    assert set(answer.json()) == {*tree["web"]} - {"heartbeat_key", "setex"}
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = await api.get(f"{ONE}/web", headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    await api.patch(f"{ONE}/web", json={"version": "2"})
    newer = await api.get(f"{ONE}/web", headers={"If-None-Match": tag})
    assert (newer.status_code, newer.json()["version"]) == (200, "2")


async def test_head_answers_as_get_does(api, tree):
    for path in (f"{ONE}/web", ONE, f"{PREFIX}/health", f"{PREFIX}/topology"):
        head, got = await api.head(path), await api.get(path)
        assert (head.status_code, head.headers["Hopper-Revision"]) == (200, got.headers["Hopper-Revision"])


async def test_only_the_fields_asked_for_are_answered(api, tree):
    assert (await api.get(f"{ONE}/web?fields=id,tags")).json() == {"id": "web", "tags": ["eu"]}
    listed = await api.get(f"{ONE}?fields=name&scope=global")
    assert listed.json()["items"] == [{"name": "g"}]


async def test_a_patch_changes_what_it_names_and_null_takes_it_away(api, tree):
    answer = await api.patch(f"{ONE}/web", json={"metadata": {"z": None, "a": "2"}, "version": "7"})
    assert answer.json()["metadata"] == {"a": "2"}
    assert (await api.patch(f"{ONE}/web", json={"version": None})).json()["version"] is None
    assert (await api.get(f"{ONE}/web")).json()["tags"] == ["eu"]


async def test_a_patch_that_changes_nothing_is_no_event(api, tree, registry):
    revision = registry.view.revision
    assert (await api.patch(f"{ONE}/web", json={"tags": ["eu"]})).status_code == 200
    assert registry.view.revision == revision


async def test_a_put_gives_the_fields_left_out_their_defaults_and_keeps_the_rest(api, tree):
    answer = await api.put(f"{ONE}/web", json={"version": "9", "scope": "project", "id": "web", "parent_id": "g"})
    document = answer.json()
    assert (document["version"], document["tags"], document["metadata"], document["name"]) == ("9", [], {}, "web")
    assert (document["parent_id"], document["state"], document["incarnation"]) == ("g", "running", 2)


async def test_a_change_can_ask_for_the_revision_it_was_made_for(api, tree, registry):
    tag = (await api.get(f"{ONE}/web")).headers["ETag"]
    assert (await api.patch(f"{ONE}/web", json={"version": "2"}, headers={"If-Match": tag})).status_code == 200
    stale = await api.patch(f"{ONE}/web", json={"version": "3"}, headers={"If-Match": tag})
    assert "'web'" in problem_of(stale, 412, "precondition-failed")["detail"]
    gone = await api.delete(f"{ONE}/run-1", headers={"If-Match": tag})
    problem_of(gone, 412, "precondition-failed")
    other_epoch = await api.put(f"{ONE}/web", json={}, headers={"If-Match": '"other.2"'})
    assert "epoch" in problem_of(other_epoch, 412, "precondition-failed")["detail"]
    for no_tag in ("x", '"x.y"', '"9999999999999999999999.99999999999999999999999"', '"a.1", "b.2"'):
        refused = await api.patch(f"{ONE}/web", json={}, headers={"If-Match": no_tag})
        assert refused.status_code in (412, 422)
    assert (await api.patch(f"{ONE}/web", json={"version": "4"}, headers={"If-Match": "*"})).status_code == 200


async def test_a_removal_answers_what_went(api, tree, registry):
    answer = await api.delete(f"{ONE}/run-1")
    assert answer.json() == {"items": ["run-1"], "revision": registry.view.revision}
    assert (await api.get(f"{ONE}/run-1")).status_code == 404
    for mode in ("restrict", "eat"):
        answer = await api.delete(f"{ONE}/run-2", params={"children": mode})
        assert answer.status_code == (200 if mode == "restrict" else 422)


async def test_a_parent_is_given_changed_and_taken(api, tree):
    moved = await api.put(f"{ONE}/run-1/parent", json={"parent_id": "shop"})
    assert moved.json()["parent_id"] == "shop"
    assert ids(await api.get(f"{ONE}/shop/children")) == ["run-1"]
    assert (await api.put(f"{ONE}/run-1/parent", json={"parent_id": "shop"})).status_code == 200
    assert (await api.delete(f"{ONE}/run-1/parent")).json()["parent_id"] is None
    assert ids(await api.get(f"{ONE}?orphan=true")) == ["run-1"]


async def test_the_verbs_lead_through_the_states_and_a_repeat_is_no_error(api, registry):
    await api.post(ONE, json={"scope": "project", "id": "p", "state": "created"})
    for verb, state in (
        ("start", "starting"), ("run", "running"), ("pause", "paused"), ("pause", "paused"), ("resume", "running"),
        ("stop", "stopping"), ("stopped", "stopped"), ("start", "starting"), ("fail", "failed"),
    ):  # fmt: skip
        answer = await api.post(f"{ONE}/p/{verb}", json={"reason": "test"})
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert registry.view.revision == 9


async def test_a_restart_is_claimed_for_whoever_can_carry_it_out_and_a_repeat_is_answered_alike(api, tree, registry):
    key = {"Idempotency-Key": "one"}
    answer = await api.post(f"{ONE}/web/restart", headers=key)
    assert answer.status_code == 200
    assert (answer.json()["restarts"], answer.json()["state"]) == (1, "running")
    revision = registry.view.revision
    assert (await api.post(f"{ONE}/web/restart", headers=key)).json()["restarts"] == 1
    assert (await registry.restart("web")).restarts == 1
    assert registry.view.revision == revision
    problem_of(await api.post(f"{ONE}/nobody/restart"), 404, "not-found")
    problem_of(await api.post(f"{ONE}/web/restart", json={"reason": "why"}), 422, "invalid")


async def test_a_family_is_listed_in_pages(api, tree):
    assert ids(await api.get(f"{ONE}/web/children")) == ["run-1", "run-2"]
    assert ids(await api.get(f"{ONE}/run-1/ancestors?sort=-created_revision")) == ["web", "g"]
    page = await api.get(f"{ONE}/g/descendants?limit=3")
    assert ids(page) == ["web", "shop", "run-1"]
    rest = await api.get(f"{ONE}/g/descendants", params={"limit": 3, "cursor": page.json()["next_cursor"]})
    assert (ids(rest), rest.json()["next_cursor"]) == (["run-2"], None)
