"""UV_ESMB_GET_FILE: a file attached to the ESM blob is read once, from front to back.

Source: specification of the Ultravisor, 1.4, minus defects D3 and D4.
"""

from harness.images import FILES, esm, guest_vm
from harness.scripted_hypervisor import ScriptedHypervisor, guest
from harness.ultravisor_fixtures import LPID
from pef_protocol.codes import UCode
from pef_protocol.ultracalls import EsmbGetFile


def get_file(hv: ScriptedHypervisor, name: str, offset: int) -> tuple[UCode, bytes]:
    reply = hv.ultracall(EsmbGetFile(name, offset), guest(LPID))
    content = bytes.fromhex(str(reply.outputs.get("bytes", "")))
    assert reply.outputs.get("count", 0) == len(content)
    return UCode(reply.code), content


def test_an_attached_file_is_read_once_from_front_to_back() -> None:
    hv = guest_vm()
    esm(hv)
    whole = FILES["disk-key"]
    assert get_file(hv, "disk-key", 0) == (UCode.U_SUCCESS, whole[:64])
    assert get_file(hv, "disk-key", 0) == (UCode.U_PARAMETER, b"")
    assert get_file(hv, "disk-key", 63) == (UCode.U_PARAMETER, b"")
    assert get_file(hv, "disk-key", 64) == (UCode.U_SUCCESS, whole[64:])
    assert get_file(hv, "disk-key", 100) == (UCode.U_SUCCESS, b"")
    assert get_file(hv, "disk-key", 101) == (UCode.U_PARAMETER, b"")
    assert get_file(hv, "disk-key", (1 << 64) - 1) == (UCode.U_PARAMETER, b"")


def test_what_was_handed_out_or_passed_over_is_zeroed() -> None:
    hv = guest_vm()
    esm(hv)
    svm = hv.uv.svm(LPID)
    assert svm is not None
    file = svm.files["disk-key"]
    whole = FILES["disk-key"]
    assert get_file(hv, "disk-key", 10) == (UCode.U_SUCCESS, whole[10:74])
    assert file == bytes(74) + whole[74:]
    assert get_file(hv, "disk-key", 90) == (UCode.U_SUCCESS, whole[90:])
    assert file == bytes(len(whole))


def test_files_that_are_empty_or_not_there() -> None:
    hv = guest_vm()
    esm(hv)
    assert get_file(hv, "empty", 0) == (UCode.U_SUCCESS, b"")
    assert get_file(hv, "empty", 1) == (UCode.U_PARAMETER, b"")
    assert get_file(hv, "no-such-file", 0) == (UCode.U_PARAMETER, b"")
