package stsemulator

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
)

// format is the format of a response.
type format int

const (
	queryFormat format = iota // STS's query protocol
	s3Format                  // S3's XML
	jsonFormat                // REST with JSON, of IAM Roles Anywhere
)

// answer records the result before it writes the response: a client that has the response can read the complete call.
func (s *Server) answer(w http.ResponseWriter, call *Call, f format, status int, code string, body []byte) {
	s.calls.update(call, func(c *Call) { c.Status, c.Code = status, code })
	w.Header().Set("Content-Type", "text/xml")
	if f == jsonFormat {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // it fails only if the caller is gone
}

type errorResponse struct {
	XMLName   xml.Name    `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Error     errorDetail `xml:"Error"`
	RequestID string      `xml:"RequestId"`
}

type errorDetail struct {
	Type    string `xml:"Type"`
	Code    string `xml:"Code"`
	Message string `xml:"Message"`
}

// s3Error is an error in S3's format. STS clients find no code in it.
type s3Error struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string   `xml:"Code"`
	Message   string   `xml:"Message"`
	Resource  string   `xml:"Resource"`
	RequestID string   `xml:"RequestId"`
}

func (s *Server) answerError(w http.ResponseWriter, call *Call, err error, f format) {
	var e *apiError
	if !errors.As(err, &e) {
		e = newError("InternalFailure", "%s", err)
	}
	body, err := e.encode(f, call.RequestID)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if f == jsonFormat {
		w.Header().Set("X-Amzn-Errortype", e.Code) // the body does not contain the code
	}
	s.answer(w, call, f, e.Status, e.Code, body)
}

func (e *apiError) encode(f format, requestID string) ([]byte, error) {
	switch f {
	case s3Format:
		return xml.Marshal(s3Error{Code: e.Code, Message: e.Message, Resource: "/", RequestID: requestID})
	case jsonFormat:
		return json.Marshal(map[string]string{"message": e.Message})
	default:
		return xml.Marshal(errorResponse{Error: errorDetail{Type: e.kind(), Code: e.Code, Message: e.Message}, RequestID: requestID})
	}
}

// response wraps a result in the format of the query protocol.
func response(action string, result any, requestID string) ([]byte, error) {
	var b bytes.Buffer
	enc := xml.NewEncoder(&b)
	outer := xml.StartElement{
		Name: xml.Name{Local: action + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}},
	}
	if err := enc.EncodeToken(outer); err != nil {
		return nil, err
	}
	if err := enc.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: action + "Result"}}); err != nil {
		return nil, err
	}
	metadata := struct {
		RequestID string `xml:"RequestId"`
	}{requestID}
	if err := enc.EncodeElement(metadata, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}); err != nil {
		return nil, err
	}
	if err := enc.EncodeToken(outer.End()); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Flush()
}
