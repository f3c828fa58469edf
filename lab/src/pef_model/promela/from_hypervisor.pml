/* ---- The Ultravisor: what the Hypervisor asks of it ---- */

inline forget_svm() {
	dying = 0; asking_done = 0; whole = 0; plugged = 0; g = UV_SECURE; busy = 0; hcall_pending = 0; requested = 0; imported = 0;
	mapped = 0; in_flight = 0; recorded = 0
}

inline advance(event) {
	if
	:: UV_ACTION(event, g) == UV_DO_UNMAP -> mapped = 0
	:: else
	fi;
	g = UV_NEXT(event, g)
}

/* Bytes move to or from the normal page, for the SVM `number`: nobody may touch the GFN, nor have the page. */
inline move(number) {
	busy = 1; pinned++; in_flight++; moving++;
	YIELD;
	moving--; pinned--;
	if
	:: ALIVE(number) -> busy = 0; in_flight--
	:: else			/* it has ended: nothing was moved, and who ended it takes all marks off */
	fi
}

#define PAGE_TAKEN	((mapped || pinned) && !(svm != NO_SVM && plugged && mapped))

/* `is_share`: the page is not to be secure. Only a design with a bit of intent has the Ultravisor know. */
inline uv_page_in(is_share) {
	whole_message = 0;
	if
	:: PAGE_TAKEN -> ucode = U_P2
	:: else ->
		if
		:: svm == NO_SVM -> ucode = U_PARAMETER; whole_message = 1
		:: svm == ABORT && !(plugged && imported && (g == UV_SECURE || g == UV_PAGEDOUT)) -> ucode = U_STATE
		:: svm != NO_SVM && !plugged && svm != ABORT -> ucode = U_P3
		:: else ->
			event = (READS_INTENT -> (is_share -> UV_ON_PAGE_IN : UV_ON_PAGE_IN_BARRED) : PAGE_IN_MEANS);
			if
			:: asking_done && !(imported && g == UV_SECURE) ->
				event = (READS_INTENT -> (is_share -> UV_ON_PAGE_IN_AT_DONE : UV_ON_PAGE_IN_PUSHED) : PAGE_IN_AT_DONE_MEANS)
			:: else
			fi;
			if
			:: EXEMPT && hcall_pending -> event = UV_ON_PAGE_IN
			:: else
			fi;
			if
			:: requested -> event = UV_ON_PAGE_IN_REQUESTED
			:: else
			fi;
			if
			:: busy -> ucode = U_BUSY
			:: else ->
				ucode = UV_CODE(event, g);
				ucode = (ucode == U_P2 && UV_IS_SHARED(g) -> SHARED_CODE : ucode);
				if
				:: UV_ACTION(event, g) == UV_DO_IMPORT || UV_ACTION(event, g) == UV_DO_DECRYPT ->
					opens = (UV_ACTION(event, g) == UV_DO_DECRYPT && !(COPIES_UNTIL_SECURE && svm != SECURE));
					of_svm = now_svm;
					move(of_svm);
					if
					:: !ALIVE(of_svm) -> ucode = U_PARAMETER; whole_message = 1
					:: else ->
						if
						:: !opens -> imported = 1; g = UV_SECURE; recorded = 0
						:: opens && recorded && genuine -> g = UV_SECURE; recorded = 0
						:: else -> ucode = U_P3
						fi
					fi
				:: else ->
					if
					:: UV_ACTION(event, g) == UV_DO_MAP -> mapped = 1
					:: else
					fi;
					if
					:: ucode == U_SUCCESS -> g = UV_NEXT(event, g)
					:: else
					fi
				fi
			fi
		fi
	fi;
	event = 0; opens = 0; of_svm = 0
}

inline uv_page_out() {
	whole_message = 0;
	if
	:: PAGE_TAKEN -> ucode = U_P2
	:: else ->
		if
		:: svm == NO_SVM -> ucode = U_PARAMETER; whole_message = 1
		:: svm != NO_SVM && !plugged -> ucode = U_P3
		:: svm == ABORT && plugged && g != UV_PAGEDOUT && !imported -> ucode = U_STATE
		:: else ->
			in_clear = (svm == ABORT);
			event = (in_clear -> UV_ON_PAGE_OUT_ABORTED : UV_ON_PAGE_OUT);
			if
			:: busy -> ucode = U_BUSY
			:: else ->
				ucode = UV_CODE(event, g);
				if
				:: UV_ACTION(event, g) == UV_DO_ENCRYPT || UV_ACTION(event, g) == UV_DO_RESTORE_CLEARTEXT ->
					if
					:: hcall_pending -> ucode = U_BUSY
					:: else ->
						of_svm = now_svm;
						move(of_svm);
						if
						:: !ALIVE(of_svm) -> ucode = U_PARAMETER; whole_message = 1
						:: else ->
							if
							:: in_clear -> genuine = 0
							:: else -> g = UV_PAGEDOUT; recorded = 1; genuine = 1
							fi
						fi
					fi
				:: else
				fi
			fi
		fi
	fi;
	event = 0; in_clear = 0; of_svm = 0
}

inline uv_page_inval() {
	whole_message = 0;
	if
	:: svm == NO_SVM -> ucode = U_PARAMETER; whole_message = 1
	:: svm == ABORT -> ucode = U_STATE; whole_message = 1
	:: else ->
		if
		:: !plugged -> ucode = U_P2
		:: plugged && busy -> ucode = U_BUSY
		:: else ->
			ucode = UV_CODE(UV_ON_PAGE_INVAL, g);
			if
			:: ucode == U_SUCCESS -> advance(UV_ON_PAGE_INVAL)
			:: else
			fi
		fi
	fi
}

inline uv_register_mem_slot() {
	if
	:: svm == NO_SVM -> ucode = U_PARAMETER
	:: svm == ABORT -> ucode = U_STATE
	:: else ->
		if
		:: plugged -> ucode = U_P5
		:: else ->
			assert(svm == ACTIVE);
			plugged = 1; g = UV_SECURE; busy = 0; hcall_pending = 0; requested = 0; imported = 0; mapped = 0; recorded = 0;
			ucode = U_SUCCESS
		fi
	fi
}

inline uv_unregister_mem_slot() {
	if
	:: svm == NO_SVM -> ucode = U_PARAMETER
	:: else ->
		if
		:: !plugged -> ucode = U_P2
		:: plugged && ((svm == ACTIVE && imported) || in_flight) -> ucode = U_BUSY
		:: else ->
			plugged = 0; g = UV_SECURE; imported = 0; mapped = 0; recorded = 0; busy = 0; hcall_pending = 0; requested = 0;
			ucode = U_SUCCESS
		fi
	fi
}

/* End the SVM, if there is one: what is open of it ends by itself, and only bytes under way are waited for. */
inline end_svm() {
	if
	:: svm != NO_SVM -> svm = NO_SVM; now_svm++; dying = 1
	:: else
	fi;
	if
	:: dying ->
		do
		:: moving -> YIELD
		:: else -> break
		od;
		if
		:: dying -> forget_svm()
		:: else
		fi
	:: else
	fi
}

inline uv_svm_terminate() {
	ucode = (svm == NO_SVM -> U_INVALID : U_SUCCESS);
	end_svm();
	answered_svm = now_svm
}

inline uv_write_pate() {
	ucode = (svm == NO_SVM -> U_SUCCESS : U_PERMISSION)
}
