/* ---- The Hypervisor: ultracalls ---- */

/* Make one ultracall that means the SVM `named` (0: whichever there is). An operation that must end makes none. */
inline call_once(kind) {
	if
	:: ending[me] -> ucode = U_BUSY; whole_message = 0
	:: else ->
		YIELD;
		if
		:: named != 0 && named != now_svm -> ucode = UNMADE; whole_message = 1
		:: else ->
			if
			:: kind == SEND_PAGE_IN -> uv_page_in(0)
			:: kind == SEND_PAGE_TO_SHARE -> uv_page_in(1)
			:: kind == SEND_PAGE_OUT -> uv_page_out()
			:: kind == SEND_PAGE_INVAL -> uv_page_inval()
			:: kind == SEND_REGISTER -> uv_register_mem_slot()
			:: kind == SEND_UNREGISTER -> uv_unregister_mem_slot()
			:: kind == SEND_TERMINATE -> uv_svm_terminate()
			:: kind == SEND_WRITE_PATE -> uv_write_pate()
			fi
		fi;
		YIELD
	fi
}

/* The same until the Ultravisor is no longer busy. */
inline call_with_retry(kind, number) {
	named = number;
	do
	::
		call_once(kind);
		if
		:: ucode == U_BUSY && !ending[me] -> YIELD
		:: else -> break
		fi
	od;
	named = 0
}

/* Carry the GFN, which is busy here meanwhile; once more where it was busy there, and is still what it was. */
inline send_batch(kind) {
	before = h;
	do
	::
		h_busy = 1;
		named = meant_svm;
		call_once(kind);
		h_busy = 0;
		if
		:: ucode == U_BUSY && !ending[me] ->
			YIELD;
			if
			:: h == before && !h_busy
			:: else -> break
			fi
		:: else -> break
		fi
	od;
	before = 0; named = 0;
	whole_message = (ucode != U_SUCCESS && ucode != U_BUSY && whole_message)
}

inline scrub() {
	host_populated = 0; stand_in = 0; genuine = 0
}

inline page_in() {
	send_batch(SEND_PAGE_IN);
	ucode = (ucode == U_P2 && RESIDENT_U_P2 && !whole_message -> U_SUCCESS : ucode);
	if
	:: ucode == U_SUCCESS -> h = next; sent = 1; scrub()
	:: else
	fi
}

inline page_out() {
	send_batch(SEND_PAGE_OUT);
	if
	:: ucode == U_SUCCESS -> h = next; host_populated = 1; stand_in = 1
	:: ucode != U_SUCCESS && ucode != U_BUSY -> scrub()
	:: else
	fi
}

inline end_svm_of_vm(number) {
	answered_svm = 0;
	call_with_retry(SEND_TERMINATE, number);
	next_svm = (answered_svm -> answered_svm : next_svm);
	answered_svm = 0;
	ucode = (ucode == U_PARAMETER || ucode == U_INVALID -> U_SUCCESS : ucode)
}
